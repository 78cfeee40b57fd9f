"""Non-maximum suppression of each class of each image, which stops when the requested number of boxes is kept."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.ops import nms


def suppress(boxes: Tensor, labels: Tensor, nms_iou: float, limit: int) -> Tensor:
    """Return the `limit` best boxes of each image that no better box of their class overlaps by more than `nms_iou`.

    boxes (B, M, 4): continuous xyxy pixels, best first; labels (B, M): int64, -1 after the last box of an image.
    Returns (B, limit): int64 positions in 0..M - 1, ascending, -1 after the last kept box.
    """
    if boxes.device.type != "cpu" and (kernel := _kernel(boxes.device)) is not None:
        return kernel(boxes, labels, nms_iou, limit)
    kept = labels.new_full((len(boxes), limit), -1)
    for row, own_boxes, own_labels in zip(kept, boxes, labels):
        best = _suppress_one(own_boxes, own_labels, nms_iou, limit)
        row[: len(best)] = best
    return kept


def _suppress_one(boxes: Tensor, labels: Tensor, nms_iou: float, limit: int) -> Tensor:
    """Return the positions kept in one image, at most `limit`, by torchvision's NMS.

    Whether a box is kept depends only on boxes of higher score, so the best few hundred mostly suffice; if not, NMS
    runs again on those kept among them and the next. One call for each image, since the time grows with the square of
    the number of boxes.
    """
    count = int((labels >= 0).sum())
    best, seen = labels[:0], 0
    # Boxes of different classes are moved apart, in float64 so that the move costs no precision.
    apart = boxes[:count].double()
    apart += labels[:count, None] * (apart.max() - apart.min().clamp(max=0) + 1 if count else 0)
    rank = torch.arange(count, 0, -1, dtype=torch.float64, device=boxes.device)
    while len(best) < limit and seen < count:
        more = max(4 * limit, 2 * seen)
        trial = torch.cat([best, torch.arange(seen, min(more, count), device=boxes.device)])
        best = trial[nms(apart.index_select(0, trial), rank.index_select(0, trial), nms_iou)]
        seen = more
    return best[:limit]


@functools.cache
def _kernel(device: torch.device) -> Callable[[Tensor, Tensor, float, int], Tensor] | None:
    """Return the kernel that suppresses on the device, without waiting for it; None if it does not run there.

    Tried once for each device.
    """
    if device.type != "cuda":
        return None
    try:
        from paa.core._kernels.suppression import suppress as kernel

        kernel(torch.zeros(1, 2, 4, device=device), torch.full((1, 2), -1, device=device), 0.6, 1)
    except Exception as error:
        warnings.warn(
            f"no kernel for NMS on {device}, so every batch waits for the CPU several times; "
            f"it takes triton and a C compiler ({type(error).__name__}: {error})",
            stacklevel=2,
        )
        return None
    return kernel
