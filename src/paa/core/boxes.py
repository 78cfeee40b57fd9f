"""Geometry of boxes in continuous coordinates: (x1, y1, x2, y2) in pixels, of width x2 - x1, not x2 - x1 + 1."""

from __future__ import annotations

import math

import torch
from torch import Tensor

DELTA_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""What the deltas (dx, dy, dw, dh) of `encode` and `decode` are multiplied by."""

_MAX_LOG_SCALE = math.log(1000 / 16)


def area(boxes: Tensor) -> Tensor:
    """Return the area of each box in square pixels, 0 where a side is negative: boxes (..., 4) -> (...)."""
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def _intersection(a: Tensor, b: Tensor) -> Tensor:
    ax1, ay1, ax2, ay2 = a.unbind(-1)
    bx1, by1, bx2, by2 = b.unbind(-1)
    width = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).clamp_(min=0)
    height = (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).clamp_(min=0)
    return width.mul_(height)


@torch.no_grad()
def iou(a: Tensor, b: Tensor) -> Tensor:
    """Return intersection over union of boxes that broadcast against each other: (..., 4), (..., 4) -> (...).

    All pairs of (G, 4) and (N, 4): `iou(a[:, None], b[None])`. Two empty boxes have IoU 0. No gradient.
    """
    intersection = _intersection(a, b)
    union = (area(a) + area(b)).sub_(intersection).clamp_(min=torch.finfo(intersection.dtype).tiny)
    return intersection.div_(union)


def giou(a: Tensor, b: Tensor, legacy: bool = False) -> Tensor:
    """Return the generalised IoU (Rezatofighi et al. 2019) of boxes that broadcast: (..., 4), (..., 4) -> (...).

    legacy: the official code's value, which takes areas of boxes one pixel smaller and adds 1e-7 to the area of the
    union and of the enclosing box. Otherwise areas are bounded below by 1e-6, as in MMDetection.
    """
    ax1, ay1, ax2, ay2 = a.unbind(-1)
    bx1, by1, bx2, by2 = b.unbind(-1)
    if legacy:
        ax2, ay2, bx2, by2 = ax2 - 1, ay2 - 1, bx2 - 1, by2 - 1
    ax2, ay2 = torch.maximum(ax1, ax2), torch.maximum(ay1, ay2)
    bx2, by2 = torch.maximum(bx1, bx2), torch.maximum(by1, by2)
    width = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).clamp(min=0)
    height = (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).clamp(min=0)
    intersection = width * height
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - intersection
    enclosing = (torch.maximum(ax2, bx2) - torch.minimum(ax1, bx1)) * (
        torch.maximum(ay2, by2) - torch.minimum(ay1, by1)
    )
    if legacy:
        union, enclosing = union + 1e-7, enclosing + 1e-7
    else:
        union, enclosing = union.clamp(min=1e-6), enclosing.clamp(min=1e-6)
    return intersection / union - (enclosing - union) / enclosing


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Return the deltas that turn `anchors` into `boxes`: (..., 4), (..., 4) -> (..., 4), the inverse of `decode`."""
    anchor_sides = anchors[..., 2:] - anchors[..., :2]
    sides = boxes[..., 2:] - boxes[..., :2]
    shift = (boxes[..., :2] + boxes[..., 2:] - anchors[..., :2] - anchors[..., 2:]) / (2 * anchor_sides)
    deltas = torch.cat([shift, torch.log(sides / anchor_sides)], dim=-1)
    return deltas * deltas.new_tensor(DELTA_WEIGHTS)


def decode(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Return the boxes that `deltas` turn `anchors` into: (..., 4), (..., 4) -> (..., 4).

    Deltas are (dx, dy) x 10 and (dw, dh) x 5 in units of the anchor's size (the references' box coder); dw and dh are
    at most log(1000 / 16), so that no box overflows.
    """
    anchor_sides = anchors[..., 2:] - anchors[..., :2]
    centres = (anchors[..., :2] + anchors[..., 2:]) / 2 + deltas[..., :2] * (anchor_sides / DELTA_WEIGHTS[0])
    half = (deltas[..., 2:] / DELTA_WEIGHTS[2]).clamp(max=_MAX_LOG_SCALE).exp() * (anchor_sides / 2)
    return torch.cat([centres - half, centres + half], dim=-1)


def clip(boxes: Tensor, sizes: Tensor, legacy: bool = False) -> Tensor:
    """Clip boxes to their image: boxes (..., 4), sizes (..., 2) as (height, width) pixels -> (..., 4).

    legacy: as the seed and the official code do, in inclusive pixels, which makes a box that lies wholly outside one
    pixel wide or high at the border. Otherwise such a box is left without area.
    """
    limit = sizes.flip(-1).to(boxes.dtype)
    if not legacy:
        return torch.minimum(boxes.clamp(min=0), torch.cat([limit, limit], dim=-1))
    low = torch.minimum(boxes[..., :2].clamp(min=0), limit - 1)
    high = torch.minimum((boxes[..., 2:] - 1).clamp(min=0), limit - 1) + 1
    return torch.cat([low, high], dim=-1)
