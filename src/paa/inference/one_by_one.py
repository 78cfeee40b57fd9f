"""Detecting in a batch one image after another, where each image makes batches of its own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from paa.core.postprocess import DetectedBatch

Found = tuple[Tensor, Tensor, Tensor]
"""The detections in one image, best first: boxes (n, 4), scores (n,) and labels (n,)."""


def one_by_one(detect: Callable[[Tensor], Found], images: Tensor, sizes: Tensor, limit: int) -> DetectedBatch:
    """Return the `limit` best of what `detect` finds in each image (3, h, w) of a batch.

    images (B, 3, H, W): each image at the top left; sizes (B, 2): (height, width) of each.
    """
    found = DetectedBatch(
        torch.zeros((len(images), limit, 4), device=images.device),
        torch.zeros((len(images), limit), device=images.device),
        torch.full((len(images), limit), -1, device=images.device),
    )
    for b, (height, width) in enumerate(sizes.tolist()):
        for column, values in zip(found, detect(images[b, :, :height, :width])):
            column[b, : len(values)] = values[:limit]
    return found


def limit_of_part(most: int | None, usual: int, asked: int) -> int:
    """Return the most detections of a part of an image: `usual`, or those that are asked for of the image, if more.

    most: those that the detector can give, None for any number; what is asked for beyond is the detector's to refuse.
    """
    return max(asked, usual if most is None else min(usual, most))
