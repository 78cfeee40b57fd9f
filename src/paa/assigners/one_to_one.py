"""The rule of DETR: one anchor for each object, such that all of them together cost least."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from paa.assigners.geometry import centres, own_logits, strides
from paa.core.assignment import Assignment, Cost
from paa.core.boxes import decode, giou
from paa.core.outputs import HeadOutputs
from paa.errors import ConfigError
from paa.runtime.extras import not_installed

_WORST = 1e9
"""Cost in place of NaN, which a diverged network predicts and the matching could not take."""


@dataclass(frozen=True)
class OneToOneAssigner:
    """The Hungarian matching (DETR: Carion et al. 2020, arXiv 2005.12872, §3.1), by scipy's `linear_sum_assignment`.

    The cost of an anchor for an object is minus its class probability (a sigmoid's, DETR's is a softmax's), plus the L1
    distance of the predicted box in centre, width and height, as shares of the batch's images with their padding
    (DETR: without), minus the GIoU. The matching is made on the host: the one rule that waits for the device, once for
    a batch. ConfigError if scipy is not installed.
    """

    class_weight: float = 1.0
    """Factor of the class probability."""
    box_weight: float = 5.0
    """Factor of the L1 distance."""
    giou_weight: float = 2.0
    """Factor of the GIoU."""

    def __post_init__(self) -> None:
        """Raise ConfigError if scipy is not installed."""
        try:
            import scipy.optimize  # noqa: F401
        except ImportError as error:
            raise ConfigError(f"assigner one-to-one: {not_installed('scipy', 'matching')}") from error

    def __call__(
        self, outputs: HeadOutputs, anchors: Tensor, gt_boxes: Tensor, gt_labels: Tensor, cost: Cost, /
    ) -> Assignment:
        """Return one positive of every object; none only where there are more objects than anchors."""
        boxes, truth = decode(outputs.deltas, anchors)[:, None], gt_boxes[:, :, None]
        rows, columns = outputs.level_sizes[0]
        stride = strides(anchors, outputs.level_sizes)[0]
        (x, y), (x0, y0) = centres(boxes).unbind(-1), centres(truth).unbind(-1)
        (w, h), (w0, h0) = ((each[..., 2:] - each[..., :2]).unbind(-1) for each in (boxes, truth))
        distance = ((x - x0).abs() + (w - w0).abs()) / (columns * stride)
        distance = distance + ((y - y0).abs() + (h - h0).abs()) / (rows * stride)
        costs = self.box_weight * distance - self.class_weight * own_logits(outputs, gt_labels).sigmoid()
        costs = (costs - self.giou_weight * giou(boxes, truth)).float().nan_to_num(nan=_WORST, posinf=_WORST)

        # Of G objects the other ones take at most G - 1 anchors, so that each finds its own among its G cheapest.
        lowest, chosen = costs.topk(min(gt_labels.shape[1], len(anchors)), largest=False)
        anchor = _matching(lowest, chosen, gt_labels >= 0)
        count = (anchor >= 0).long()
        anchor = anchor.clamp(min=0)[..., None]
        scores = torch.where(count[..., None] > 0, costs.gather(2, anchor), torch.inf)
        return Assignment(anchor, scores, count, count)


@torch.library.custom_op("paa::matching", mutates_args=())
def _matching(costs: Tensor, chosen: Tensor, real: Tensor) -> Tensor:
    """Return the anchor of each object: costs, chosen (B, G, K), real (B, G) -> (B, G) int64 along N, -1 for none."""
    from scipy.optimize import linear_sum_assignment

    result = np.full(real.shape, -1, np.int64)
    for own, cost, anchors, is_real in zip(result, costs.cpu().numpy(), chosen.cpu().numpy(), real.cpu().numpy()):
        objects = np.flatnonzero(is_real)
        names, columns = np.unique(anchors[objects], return_inverse=True)
        matrix = np.full((len(objects), len(names)), np.inf)
        np.put_along_axis(matrix, columns.reshape(len(objects), anchors.shape[1]), cost[objects], axis=1)
        matched, column = linear_sum_assignment(matrix)
        own[objects[matched]] = names[column]
    return torch.from_numpy(result).to(costs.device)


@_matching.register_fake
def _(costs: Tensor, chosen: Tensor, real: Tensor) -> Tensor:
    """Return the shape of the result, for torch.compile."""
    return torch.empty_like(real, dtype=torch.int64)
