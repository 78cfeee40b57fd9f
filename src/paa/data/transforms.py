"""Resizing, flipping, cropping and colouring an image, with its boxes.

Images are (3, H, W) uint8 tensors, resized fastest where they lie in memory as (H, W, 3), as decoders leave them; boxes
(n, 4) float32, continuous xyxy pixels; sizes (height, width).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional

_LUMINANCE = np.array([0.299, 0.587, 0.114])


def resized_size(height: int, width: int, min_size: int, max_size: int) -> tuple[int, int]:
    """Return the (height, width) whose short side is `min_size`, or less where the long side would exceed `max_size`.

    Rounds as the seed does (maskrcnn-benchmark's Resize): the short side is rounded, and the long one, truncated,
    follows it, so that it may exceed `max_size` by a few pixels in long images. Where the short side would have no
    pixel it has one, and the long side `max_size`.
    """
    small, large = min(height, width), max(height, width)
    if large / small * min_size > max_size:
        min_size = round(max_size * small / large)
    long = int(min_size * large / small)
    if min_size == 0:
        min_size, long = 1, max_size
    return (min_size, long) if height <= width else (long, min_size)


def scale_boxes(boxes: Tensor, from_size: tuple[int, int], to_size: tuple[int, int], legacy: bool) -> Tensor:
    """Return the boxes (n, 4) of an image of `from_size` as they are after it is resized to `to_size`.

    legacy: scale inclusive coordinates, as the seed does: x2 becomes (x2 - 1) x ratio + 1.
    """
    return stretch(boxes, boxes.new_tensor([to_size[1] / from_size[1], to_size[0] / from_size[0]]), legacy)


def stretch(boxes: Tensor, ratios: Tensor, legacy: bool) -> Tensor:
    """Return boxes (..., 4) times ratios (..., 2) of x and y; legacy as in `scale_boxes`.

    A legacy box of less than a pixel counts as one pixel, the least that inclusive coordinates can express.
    """
    low, high = boxes[..., :2], boxes[..., 2:]
    if not legacy:
        return torch.cat([low * ratios, high * ratios], dim=-1)
    return torch.cat([low * ratios, torch.maximum(high - 1, low) * ratios + 1], dim=-1)


def resize(image: Tensor, boxes: Tensor, size: tuple[int, int], legacy: bool) -> tuple[Tensor, Tensor]:
    """Return the image at (height, width) `size`, bilinear and antialiased as Pillow does it, and its boxes."""
    before = (image.shape[1], image.shape[2])
    if before == size:
        return image, boxes
    resized = functional.resize(image, list(size), interpolation=functional.InterpolationMode.BILINEAR, antialias=True)
    return resized, scale_boxes(boxes, before, size, legacy)


@dataclass(frozen=True)
class Resize:
    """Resizing for detection: the short side becomes `min_size` pixels, or less so that the long one has `max_size`.

    min_size: None keeps images as they are. legacy: as in `scale_boxes`.
    """

    min_size: int | None
    max_size: int
    legacy: bool = False

    def size_of(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) to which an image of this size is resized."""
        return (height, width) if self.min_size is None else resized_size(height, width, self.min_size, self.max_size)

    def __call__(self, image: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the resized image and its boxes."""
        return resize(image, boxes, self.size_of(image.shape[1], image.shape[2]), self.legacy)


def hflip(image: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the image and its boxes mirrored left to right."""
    width = image.shape[2]
    flipped = torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1)
    return image.flip(2), flipped


def crop(
    image: Tensor, boxes: Tensor, window: tuple[int, int, int, int], min_visible: float = 0.25
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the part of the image in `window` (top, left, height, width), the boxes in it, clipped, and a mask.

    The mask (n,), bool, says which of the boxes given are kept: those that keep at least `min_visible` of
    their area, and have no side cut to less than a pixel.
    """
    top, left, height, width = window
    corner = boxes.new_tensor([left, top, left, top])
    limits = boxes.new_tensor([width, height, width, height])
    clipped = torch.minimum((boxes - corner).clamp(min=0), limits)
    sides, whole = clipped[:, 2:] - clipped[:, :2], boxes[:, 2:] - boxes[:, :2]
    kept = (sides.prod(1) >= min_visible * whole.prod(1)) & (sides >= whole.clamp(max=1)).all(1)
    return image[:, top : top + height, left : left + width], clipped[kept], kept


def adjust_colors(image: Tensor, brightness: float, contrast: float, saturation: float) -> Tensor:
    """Return the image with brightness, contrast and saturation multiplied by these factors; 1 changes nothing.

    All three are linear in the pixel, so they are one 3x3 matrix and one offset, which Pillow applies in one pass.
    """
    pixels = image.permute(1, 2, 0).numpy()
    matrix = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * _LUMINANCE)
    sums = pixels.sum(0, dtype=np.uint32).sum(0)  # column by column, which numpy can vectorise
    mean = brightness * (_LUMINANCE @ sums) / (pixels.shape[0] * pixels.shape[1])
    rows = np.column_stack([matrix, np.full(3, (1 - contrast) * mean)])
    changed = Image.fromarray(pixels).convert("RGB", tuple(rows.flatten().tolist()))
    return torch.from_numpy(np.array(changed)).permute(2, 0, 1)
