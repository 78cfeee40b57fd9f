"""One batch, as tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B images of a common padded size, and their ground truth.

    images (B, 3, H, W): uint8 RGB, in memory (B, H, W, 3), each image at the top left, zeros elsewhere. sizes (B, 2):
    int64 (height, width) of each image inside. gt_boxes (B, G, 4): float32 continuous xyxy pixels of the padded
    batch; gt_labels (B, G): int64 from 0, -1 where image b has fewer than G objects (its box there is zeros). G is at
    least 1. positions (B,): int64, where each image stands in its index. original_sizes (B, 2): int64 (height, width)
    on disk.
    """

    images: Tensor
    sizes: Tensor
    gt_boxes: Tensor
    gt_labels: Tensor
    positions: Tensor
    original_sizes: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> Batch:
        """Copy what the model needs to `device`, without waiting for the copy when the memory is pinned."""
        return replace(
            self,
            images=self.images.to(device, non_blocking=True),
            sizes=self.sizes.to(device, non_blocking=True),
            gt_boxes=self.gt_boxes.to(device, non_blocking=True),
            gt_labels=self.gt_labels.to(device, non_blocking=True),
        )

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory (the DataLoader calls this when it pins)."""
        return Batch(*(t.pin_memory() for t in vars(self).values()))
