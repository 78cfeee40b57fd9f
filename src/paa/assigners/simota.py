"""The rule of YOLOX: each object takes the anchors of lowest cost, as many as its best predicted boxes fit it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from paa.assigners.geometry import centre_offset, centres, nearest_side, own_logits, strides
from paa.assigners.slots import by_owner
from paa.core.assignment import Assignment, Cost
from paa.core.boxes import decode, iou
from paa.core.outputs import HeadOutputs

_OFF_CENTRE = 1e5


@dataclass(frozen=True)
class SimOtaAssigner:
    """Simplified optimal transport assignment (YOLOX: Ge et al. 2021, arXiv 2107.08430, §2.1).

    The cost of an anchor for an object is the cross-entropy of its class probabilities, plus 3 x -log of the IoU of its
    predicted box, plus 100,000 unless its centre is inside the object and near the object's centre. Anchors that are
    neither inside nor near any object are left out. An anchor that several objects take goes to the object for which it
    costs least. Equal to MMDetection's `SimOTAAssigner` with the class probabilities as scores; YOLOX's own are
    the roots of class probability x objectness, which PAA's head does not predict.
    """

    radius: float = 2.5
    """Near: less than this in x and in y, in strides of the anchor's level."""
    top: int = 10
    """An object takes as many anchors as the sum of its highest IoUs, of this many, rounded down; at least one."""
    iou_weight: float = 3.0
    """Factor of the IoU's part of the cost."""
    slots: int = 128
    """Positives of an object, at most; only anchors that other objects took too can make them more than `top`."""

    def __call__(
        self, outputs: HeadOutputs, anchors: Tensor, gt_boxes: Tensor, gt_labels: Tensor, cost: Cost, /
    ) -> Assignment:
        """Return the positives of every object, of lowest cost first."""
        points, boxes, real = centres(anchors), gt_boxes[:, :, None], (gt_labels >= 0)[..., None]
        inside = (nearest_side(points, boxes) > 0) & real
        near = (centre_offset(points, boxes) < self.radius * strides(anchors, outputs.level_sizes)) & real
        eligible = (inside | near).any(1, keepdim=True) & real
        overlap = torch.where(eligible, iou(decode(outputs.deltas, anchors)[:, None], boxes), 0)
        costs = F.softplus(outputs.cls_logits).sum(2)[:, None] - own_logits(outputs, gt_labels)
        costs = costs - self.iou_weight * (overlap + 1e-7).log() + _OFF_CENTRE * ~(inside & near)
        costs = torch.where(eligible, costs, torch.inf)

        top = min(self.top, len(anchors))
        number = overlap.topk(top).values.sum(2, keepdim=True).int().clamp(min=1)
        lowest, chosen = costs.topk(top, largest=False)
        takes = (torch.arange(top, device=chosen.device) < number) & (lowest < torch.inf)
        taken = torch.zeros_like(eligible).scatter(2, chosen, takes)
        times, cheapest = taken.sum(1), costs.argmin(1)
        owner = torch.where(times > 1, cheapest, torch.where(times == 1, taken.int().argmax(1), -1))
        own_costs = costs.gather(1, owner.clamp(min=0)[:, None]).squeeze(1)
        return by_owner(owner, own_costs, gt_labels.shape[1], self.slots)
