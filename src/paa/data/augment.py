"""What happens to an image before it is trained on, every random choice drawn from the image's own seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from paa.data.transforms import adjust_colors, crop, hflip, resize, resized_size

_SMALLEST_IMAGE = 32


@dataclass(frozen=True)
class Geometry:
    """An image is resized to `size` (height, width), cut to `window` (top, left, height, width), perhaps mirrored."""

    size: tuple[int, int]
    window: tuple[int, int, int, int]
    mirrored: bool


@dataclass(frozen=True)
class TrainTransform:
    """How images are changed for training.

    min_sizes: the short side in pixels, or the lowest and the highest, each length between equally likely. max_size:
    cap of the long side. hflip: probability of mirroring. scale_jitter: the lowest and highest factor by which the
    image is made smaller, or larger and cut to the unchanged size. color_jitter: brightness, contrast and saturation
    are multiplied by up to 1 -/+ this. legacy: boxes are scaled as the seed does.
    """

    min_sizes: tuple[int, ...] = (800,)
    max_size: int = 1333
    hflip: float = 0.5
    scale_jitter: tuple[float, float] | None = None
    color_jitter: float = 0.0
    legacy: bool = False

    def draw(self, height: int, width: int, random: np.random.Generator) -> Geometry:
        """Draw what is done to an image of this size; its colours are to be drawn afterwards."""
        short = int(random.integers(min(self.min_sizes), max(self.min_sizes) + 1))
        mirrored = bool(random.random() < self.hflip)
        size = resized_size(height, width, short, self.max_size)
        if self.scale_jitter is None:
            return Geometry(size, (0, 0, *size), mirrored)
        factor = random.uniform(*self.scale_jitter)
        scaled = (max(_SMALLEST_IMAGE, round(size[0] * factor)), max(_SMALLEST_IMAGE, round(size[1] * factor)))
        window = (min(size[0], scaled[0]), min(size[1], scaled[1]))
        top, left = (int(random.integers(whole - part + 1)) for whole, part in zip(scaled, window))
        return Geometry(scaled, (top, left, *window), mirrored)

    def apply(
        self, image: Tensor, boxes: Tensor, labels: Tensor, geometry: Geometry, random: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the image (3, h, w), boxes (n, 4) and labels (n,) as changed; cropping may leave fewer boxes."""
        image, boxes = resize(image, boxes, geometry.size, self.legacy)
        if geometry.window != (0, 0, *geometry.size):
            image, boxes, kept = crop(image, boxes, geometry.window)
            labels = labels[kept]
        if geometry.mirrored:
            image, boxes = hflip(image, boxes)
        if self.color_jitter > 0:
            low, high = max(0.0, 1 - self.color_jitter), 1 + self.color_jitter
            image = adjust_colors(image, *random.uniform(low, high, 3))
        return image, boxes, labels


def padded_size(sizes: Sequence[tuple[int, int]], multiple: int = 32) -> tuple[int, int]:
    """Return the (height, width), multiples of `multiple`, that hold images of all these sizes."""
    height, width = (-(-max(sides) // multiple) * multiple for sides in zip(*sizes))
    return height, width
