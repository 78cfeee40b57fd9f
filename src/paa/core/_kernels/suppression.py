"""The suppression of `core/suppression.py` on a GPU: one kernel, a program for each image.

Greedy suppression is a chain, but of at most `limit` links: the best remaining box is kept, and suppresses the boxes of
its class that it overlaps, all at once. Whether a box is kept depends only on boxes of higher score, so the kernel goes
over the boxes in pieces, best first, until `limit` are kept. The host waits for nothing. Triton comes with torch on
Linux; running the kernel takes a C compiler.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

PIECE = 1024
"""Boxes processed at a time, a power of 2: few lanes idle, and a second piece is seldom needed."""


@triton.jit
def _area(x1: tl.tensor, y1: tl.tensor, x2: tl.tensor, y2: tl.tensor) -> tl.tensor:
    return tl.maximum(x2 - x1, 0.0) * tl.maximum(y2 - y1, 0.0)


@triton.jit
def _suppress_by(
    remaining: tl.tensor,
    keeper: tl.tensor,
    boxes: tl.tensor,
    labels: tl.tensor,
    x1: tl.tensor,
    y1: tl.tensor,
    x2: tl.tensor,
    y2: tl.tensor,
    label: tl.tensor,
    suppressed: tl.tensor,
    nms_iou: tl.constexpr,
) -> tl.tensor:
    """Return `remaining` without the boxes that box `keeper` suppresses, by torchvision's order of operations.

    remaining: the positions of a piece of boxes, with `suppressed` in the place of each suppressed box.
    """
    threshold = tl.full([], nms_iou, tl.float64)  # older triton compares a bare constant as float32
    keeper_label = tl.load(labels + keeper)
    keeper_x1 = tl.load(boxes + keeper * 4).to(tl.float64)
    keeper_y1 = tl.load(boxes + keeper * 4 + 1).to(tl.float64)
    keeper_x2 = tl.load(boxes + keeper * 4 + 2).to(tl.float64)
    keeper_y2 = tl.load(boxes + keeper * 4 + 3).to(tl.float64)
    shared = _area(
        tl.maximum(keeper_x1, x1), tl.maximum(keeper_y1, y1), tl.minimum(keeper_x2, x2), tl.minimum(keeper_y2, y2)
    )
    union = _area(keeper_x1, keeper_y1, keeper_x2, keeper_y2) + _area(x1, y1, x2, y2) - shared
    return tl.where((label == keeper_label) & (shared / union > threshold), suppressed, remaining)


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
    """Write the positions of the boxes kept in image `program_id` to its row of kept (B, limit), which holds -1 before.

    boxes (B, columns, 4), best first; labels (B, columns), -1 after the last box of an image.
    `nms_iou` is compiled in: as an argument triton would make it float32.
    """
    image = tl.program_id(0).to(tl.int64)
    boxes += image * columns * 4
    labels += image * columns
    kept += image * limit
    num_kept = 0
    start = 0
    while (num_kept < limit) & (start < columns):
        lane = start + tl.arange(0, lanes)
        valid = lane < columns
        label = tl.load(labels + lane, mask=valid, other=-1)
        x1 = tl.load(boxes + lane * 4, mask=valid, other=0.0).to(tl.float64)
        y1 = tl.load(boxes + lane * 4 + 1, mask=valid, other=0.0).to(tl.float64)
        x2 = tl.load(boxes + lane * 4 + 2, mask=valid, other=0.0).to(tl.float64)
        y2 = tl.load(boxes + lane * 4 + 3, mask=valid, other=0.0).to(tl.float64)
        remaining = tl.where(label >= 0, lane, columns)
        earlier = 0
        while earlier < num_kept:
            keeper = tl.load(kept + earlier)
            remaining = _suppress_by(remaining, keeper, boxes, labels, x1, y1, x2, y2, label, columns, nms_iou)
            earlier += 1
        best = tl.min(remaining)  # the boxes are sorted, best first
        while (num_kept < limit) & (best < columns):
            tl.store(kept + num_kept, best)
            remaining = _suppress_by(remaining, best, boxes, labels, x1, y1, x2, y2, label, columns, nms_iou)
            remaining = tl.where(lane == best, columns, remaining)
            best = tl.min(remaining)
            num_kept += 1
        start += lanes
        tl.debug_barrier()  # all threads load what one of them stored


def suppress(boxes: Tensor, labels: Tensor, nms_iou: float, limit: int) -> Tensor:
    """Return what `suppression.suppress` returns, for boxes (B, M, 4) and labels (B, M) on a GPU."""
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
