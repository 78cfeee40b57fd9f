"""The suppression of `suppression.py` on an accelerator: one kernel, one program an image.

Greedy suppression is a chain, but one of at most `limit` links: the best box that is left is kept, and strikes out what
it overlaps of its class, all at once. Whether a box is kept depends only on boxes of higher score, so it goes over the
boxes in pieces, best first, until there are enough. Nothing is counted by the host. Triton comes with torch on Linux;
running it takes a C compiler.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

PIECE = 1024
"""Boxes at a time, a power of 2: few lanes idle, and seldom is a second piece needed."""


@triton.jit
def _area(x1: tl.tensor, y1: tl.tensor, x2: tl.tensor, y2: tl.tensor) -> tl.tensor:
    return tl.maximum(x2 - x1, 0.0) * tl.maximum(y2 - y1, 0.0)


@triton.jit
def _strike(
    left: tl.tensor,
    striker: tl.tensor,
    boxes: tl.tensor,
    labels: tl.tensor,
    x1: tl.tensor,
    y1: tl.tensor,
    x2: tl.tensor,
    y2: tl.tensor,
    label: tl.tensor,
    nowhere: tl.tensor,
    nms_iou: tl.constexpr,
) -> tl.tensor:
    """Put those of `left` `nowhere` that the box `striker` overlaps, in torchvision's order of operations."""
    threshold = tl.full([], nms_iou, tl.float64)  # older triton compares a bare constant as float32
    striker_label = tl.load(labels + striker)
    striker_x1 = tl.load(boxes + striker * 4).to(tl.float64)
    striker_y1 = tl.load(boxes + striker * 4 + 1).to(tl.float64)
    striker_x2 = tl.load(boxes + striker * 4 + 2).to(tl.float64)
    striker_y2 = tl.load(boxes + striker * 4 + 3).to(tl.float64)
    shared = _area(
        tl.maximum(striker_x1, x1), tl.maximum(striker_y1, y1), tl.minimum(striker_x2, x2), tl.minimum(striker_y2, y2)
    )
    union = _area(striker_x1, striker_y1, striker_x2, striker_y2) + _area(x1, y1, x2, y2) - shared
    return tl.where((label == striker_label) & (shared / union > threshold), nowhere, left)


@triton.jit
def _suppress(
    boxes: tl.tensor,
    labels: tl.tensor,
    kept: tl.tensor,
    columns: tl.tensor,
    limit: tl.tensor,
    lanes: tl.constexpr,
    nms_iou: tl.constexpr,
) -> None:
    """Suppress in image `program_id`: boxes (B, columns, 4), labels (B, columns) -> kept (B, limit), of -1 before.

    `nms_iou` is compiled in: as an argument triton would make it float32.
    """
    image = tl.program_id(0).to(tl.int64)
    boxes += image * columns * 4
    labels += image * columns
    kept += image * limit
    number = 0
    start = 0
    while (number < limit) & (start < columns):
        lane = start + tl.arange(0, lanes)
        inside = lane < columns
        label = tl.load(labels + lane, mask=inside, other=-1)
        x1 = tl.load(boxes + lane * 4, mask=inside, other=0.0).to(tl.float64)
        y1 = tl.load(boxes + lane * 4 + 1, mask=inside, other=0.0).to(tl.float64)
        x2 = tl.load(boxes + lane * 4 + 2, mask=inside, other=0.0).to(tl.float64)
        y2 = tl.load(boxes + lane * 4 + 3, mask=inside, other=0.0).to(tl.float64)
        left = tl.where(label >= 0, lane, columns)
        earlier = 0
        while earlier < number:
            striker = tl.load(kept + earlier)
            left = _strike(left, striker, boxes, labels, x1, y1, x2, y2, label, columns, nms_iou)
            earlier += 1
        best = tl.min(left)  # boxes come best first
        while (number < limit) & (best < columns):
            tl.store(kept + number, best)
            left = _strike(left, best, boxes, labels, x1, y1, x2, y2, label, columns, nms_iou)
            left = tl.where(lane == best, columns, left)
            best = tl.min(left)
            number += 1
        start += lanes
        tl.debug_barrier()  # what one thread stored all load


def suppress(boxes: Tensor, labels: Tensor, nms_iou: float, limit: int) -> Tensor:
    """Return what `suppression.suppress` returns, for boxes (B, M, 4) and labels (B, M) on an accelerator."""
    boxes, labels = boxes.contiguous(), labels.contiguous()
    images, columns = labels.shape
    kept = labels.new_full((images, limit), -1)
    if images and columns and limit:
        with torch.cuda.device_of(boxes):  # triton launches on the current device
            _suppress[(images,)](
                boxes,
                labels,
                kept,
                columns,
                limit,
                lanes=min(PIECE, triton.next_power_of_2(columns)),
                nms_iou=nms_iou,
                num_warps=8,
                enable_fp_fusion=False,
            )
    return kept
