"""Non-maximum suppression as an operator of its own, which becomes ONNX's `NonMaxSuppression` for the whole batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import batched_nms


@torch.library.custom_op("paa::suppress", mutates_args=())
def suppress(boxes: Tensor, scores: Tensor, labels: Tensor, classes: int, nms_iou: float, limit: int) -> Tensor:
    """Return which candidates no better one of their class overlaps by more than `nms_iou`: (B, M), bool.

    boxes (B, M, 4): continuous xyxy pixels; scores (B, M): 0 in an empty slot, which is not kept; labels (B, M): int64
    from 0 to `classes` - 1, and -1 in an empty slot. At most the `limit` best of each class and image are kept.
    """
    kept = torch.zeros_like(scores, dtype=torch.bool)
    for row, own_boxes, own_scores, own_labels in zip(kept, boxes.double(), scores, labels):
        filled = torch.nonzero(own_scores > 0)[:, 0]
        order = filled[own_scores[filled].argsort(descending=True, stable=True)]
        # a rank in place of the score, so that of equal scores the first is the better one, as in ONNX
        rank = torch.arange(len(order), 0, -1, dtype=torch.float64, device=order.device)
        best = order[batched_nms(own_boxes[order], rank, own_labels[order], nms_iou)]
        place = (own_labels[best][:, None] == own_labels[best]).tril().sum(1)  # 1: the best of its class
        row[best[place <= limit]] = True
    return kept


@suppress.register_fake
def _(boxes: Tensor, scores: Tensor, labels: Tensor, classes: int, nms_iou: float, limit: int) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return how torch's ONNX exporter translates `suppress`, for its `custom_translation_table`."""
    from onnxscript import opset18

    op: Any = opset18  # its operators have types of ONNX's own

    def to_onnx(boxes: Any, scores: Any, labels: Any, classes: int, nms_iou: float, limit: int) -> Any:
        every = op.Constant(value_ints=list(range(classes)))
        same = op.Equal(op.Unsqueeze(labels, [1]), op.Unsqueeze(every, [0, 2]))
        by_class = op.Where(same, op.Unsqueeze(scores, [1]), op.Constant(value_float=0.0))  # (B, C, M)
        best = op.Constant(value_ints=[limit])
        overlap, least = op.Constant(value_floats=[nms_iou]), op.Constant(value_floats=[0.0])
        chosen = op.NonMaxSuppression(boxes, by_class, best, overlap, least)  # rows of (image, class, candidate)
        place = op.Gather(chosen, op.Constant(value_ints=[0, 2]), axis=1)
        ones = op.Expand(op.Constant(value_float=1.0), op.Shape(place, end=1))
        zeros = op.Expand(op.Constant(value_float=0.0), op.Shape(scores))
        return op.Greater(op.ScatterND(zeros, place, ones), op.Constant(value_float=0.0))

    return {torch.ops.paa.suppress.default: to_onnx}
