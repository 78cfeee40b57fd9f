"""One batch, as tensors, and how images of different sizes and numbers of objects are laid out in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from paa.data.index import DatasetIndex

_SLOT_MULTIPLE = 8  # few different shapes, so that little is compiled or allocated again

Sample = tuple[Tensor, Tensor, Tensor]
"""One image with its objects: image (3, h, w) uint8, boxes (n, 4), labels (n,)."""


@dataclass(frozen=True)
class Batch:
    """B images of a common padded size, and their ground truth.

    images (B, 3, H, W): uint8 RGB, in memory (B, H, W, 3), each image at the top left, zeros elsewhere. sizes (B, 2):
    int64 (height, width) of each image unpadded. gt_boxes (B, G, 4): float32 continuous xyxy pixels of the padded
    batch; gt_labels (B, G): int64 from 0, -1 where image b has fewer than G objects (its box is then zeros). G is at
    least 1. positions (B,): int64, the position of each image in its index. original_sizes (B, 2): int64 (height,
    width) on disk.
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


def padded_size(sizes: Sequence[tuple[int, int]], multiple: int = 32) -> tuple[int, int]:
    """Return the least (height, width), multiples of `multiple`, that hold images of all these sizes."""
    height, width = (-(-max(sides) // multiple) * multiple for sides in zip(*sizes))
    return height, width


def collate(images: Sequence[Tensor], size: tuple[int, int] | None = None, multiple: int = 32) -> tuple[Tensor, Tensor]:
    """Lay images (3, h, w) uint8 at the top left of (B, 3, H, W) zeros; also return their sizes (B, 2) int64.

    size: (H, W), by default `padded_size`. The batch lies in memory as (B, H, W, 3), as the images do: to sort their
    bytes by channel would take as long as to resize them.
    """
    sizes = [(image.shape[1], image.shape[2]) for image in images]
    height, width = size or padded_size(sizes, multiple)
    padded = torch.zeros((len(images), height, width, 3), dtype=torch.uint8, device=images[0].device)
    padded = padded.permute(0, 3, 1, 2)
    for canvas, image in zip(padded, images):
        canvas[:, : image.shape[1], : image.shape[2]] = image
    return padded, torch.tensor(sizes, dtype=torch.int64)


def make_batch(
    index: DatasetIndex, positions: Sequence[int], samples: Sequence[Sample], size: tuple[int, int]
) -> Batch:
    """Return the batch of these resized samples of the images at `positions`, padded to (height, width) `size`.

    The ground truth has as many slots as the image with most objects needs, rounded up.
    """
    images, sizes = collate([image for image, _, _ in samples], size)
    most = max(1, *(len(labels) for _, _, labels in samples))
    slots = -(-most // _SLOT_MULTIPLE) * _SLOT_MULTIPLE
    gt_boxes = torch.zeros((len(samples), slots, 4))
    gt_labels = torch.full((len(samples), slots), -1)
    for b, (_, boxes, labels) in enumerate(samples):
        gt_boxes[b, : len(boxes)] = boxes
        gt_labels[b, : len(labels)] = labels
    original_sizes = torch.from_numpy(index.sizes[np.array(positions)]).long()
    return Batch(images, sizes, gt_boxes, gt_labels, torch.tensor(positions), original_sizes)
