"""The suppression of `suppression.py` on an accelerator: one kernel, one program a picture.

Greedy suppression is a chain, but one of at most `limit` links: the best box that is left is kept, and strikes out those
of its class that it overlaps, all at once. Nothing is counted by the host. Triton comes with torch on Linux; running it
takes a C compiler.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


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
    """Suppress in picture `program_id`: boxes (B, columns, 4), labels (B, columns) -> kept (B, limit), of -1 before.

    `nms_iou` is compiled in: as an argument triton would make it float32.
    """
    picture = tl.program_id(0).to(tl.int64)
    boxes += picture * columns * 4
    labels += picture * columns
    lane = tl.arange(0, lanes)
    inside = lane < columns
    # float32 in the registers, float64 for the areas, which are compared
    x1 = tl.load(boxes + lane * 4, mask=inside, other=0.0)
    y1 = tl.load(boxes + lane * 4 + 1, mask=inside, other=0.0)
    x2 = tl.load(boxes + lane * 4 + 2, mask=inside, other=0.0)
    y2 = tl.load(boxes + lane * 4 + 3, mask=inside, other=0.0)
    label = tl.load(labels + lane, mask=inside, other=-1).to(tl.int32)
    threshold = tl.full([], nms_iou, tl.float64)

    # boxes come best first: the best one left is the first one left
    left = tl.where(label >= 0, lane, lanes)
    best = tl.min(left)
    number = 0
    while (number < limit) & (best < lanes):
        tl.store(kept + picture * limit + number, best)
        best_x1 = tl.load(boxes + best * 4).to(tl.float64)
        best_y1 = tl.load(boxes + best * 4 + 1).to(tl.float64)
        best_x2 = tl.load(boxes + best * 4 + 2).to(tl.float64)
        best_y2 = tl.load(boxes + best * 4 + 3).to(tl.float64)
        best_label = tl.load(labels + best).to(tl.int32)
        width = tl.minimum(x2.to(tl.float64), best_x2) - tl.maximum(x1.to(tl.float64), best_x1)
        height = tl.minimum(y2.to(tl.float64), best_y2) - tl.maximum(y1.to(tl.float64), best_y1)
        shared = tl.maximum(width, 0.0) * tl.maximum(height, 0.0)
        own = (x2.to(tl.float64) - x1.to(tl.float64)) * (y2.to(tl.float64) - y1.to(tl.float64))
        union = (best_x2 - best_x1) * (best_y2 - best_y1) + own - shared
        struck = (label == best_label) & (shared / union > threshold)
        left = tl.where(struck | (lane == best), lanes, left)
        best = tl.min(left)
        number += 1


def suppress(boxes: Tensor, labels: Tensor, nms_iou: float, limit: int) -> Tensor:
    """Return what `suppression.suppress` returns, for boxes (B, M, 4) and labels (B, M) on an accelerator."""
    boxes, labels = boxes.contiguous(), labels.contiguous()
    pictures, columns = labels.shape
    kept = labels.new_full((pictures, limit), -1)
    if pictures and columns and limit:
        with torch.cuda.device_of(boxes):  # triton launches on the current device
            _suppress[(pictures,)](
                boxes,
                labels,
                kept,
                columns,
                limit,
                lanes=triton.next_power_of_2(columns),
                nms_iou=nms_iou,
                num_warps=16,
                enable_fp_fusion=False,
            )
    return kept
