"""Where anchors lie in objects' boxes, and what the network predicts for every pair of the two."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from paa.core.outputs import HeadOutputs


def centres(boxes: Tensor) -> Tensor:
    """Return the centres of boxes: (..., 4) -> (..., 2)."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def nearest_side(points: Tensor, boxes: Tensor) -> Tensor:
    """Return the distance from points to the nearest side of boxes, negative outside: (..., 2), (..., 4) -> (...)."""
    left, top, right, bottom = _sides(points, boxes)
    return torch.minimum(torch.minimum(left, right), torch.minimum(top, bottom))


def farthest_side(points: Tensor, boxes: Tensor) -> Tensor:
    """Return the distance from points to the farthest side of boxes: (..., 2), (..., 4) -> (...)."""
    left, top, right, bottom = _sides(points, boxes)
    return torch.maximum(torch.maximum(left, right), torch.maximum(top, bottom))


def _sides(points: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    (x, y), (x1, y1, x2, y2) = points.unbind(-1), boxes.unbind(-1)
    return x - x1, y - y1, x2 - x, y2 - y


def centre_offset(points: Tensor, boxes: Tensor) -> Tensor:
    """Return the larger of the distances in x and in y from points to boxes' centres: (..., 2), (..., 4) -> (...)."""
    (x, y), (x0, y0) = points.unbind(-1), centres(boxes).unbind(-1)
    return torch.maximum((x - x0).abs(), (y - y0).abs())


def strides(anchors: Tensor, level_sizes: Sequence[tuple[int, int]]) -> Tensor:
    """Return the stride of each anchor's level in pixels: (N, 4) -> (N,).

    The first level's is the distance of two neighbouring anchors, and strides grow with the anchors' sides. A first
    level of one anchor has no neighbours: there, anchors are taken to be 8 strides wide, as the paper's are.
    """
    (rows, columns), middle = level_sizes[0], centres(anchors)
    sides = anchors[:, 2] - anchors[:, 0]
    if columns > 1:
        first = middle[1, 0] - middle[0, 0]
    elif rows > 1:
        first = middle[1, 1] - middle[0, 1]
    else:
        first = sides[0] / 8
    return sides * (first / sides[0])


def own_logits(outputs: HeadOutputs, gt_labels: Tensor) -> Tensor:
    """Return every anchor's logit of every object's class: gt_labels (B, G) -> (B, G, N)."""
    labels = gt_labels.clamp(min=0)[..., None].expand(-1, -1, outputs.cls_logits.shape[1])
    return outputs.cls_logits.transpose(1, 2).gather(1, labels)
