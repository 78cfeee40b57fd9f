"""Training augmentation: every random choice is drawn from the image's own seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from paa.config import AugmentConfig
from paa.data.transforms import adjust_colors, crop, hflip, resize, resized_size

_SMALLEST_IMAGE = 32  # pixels a side, after scale jitter
_PART_SCALE = (0.4, 0.8)  # of an image in a mosaic; 1 is its size alone


@dataclass(frozen=True)
class Geometry:
    """Where the pixels of an augmented image come from.

    The image is resized to `size` (height, width), cropped to `window` (top, left, height, width), and, if `mirrored`,
    flipped left to right.
    """

    size: tuple[int, int]
    window: tuple[int, int, int, int]
    mirrored: bool


@dataclass(frozen=True)
class TrainTransform:
    """Resizes and augments images and their boxes for training, as `config` says.

    Each length in the range of `min_sizes` is equally likely. A scale jitter below 1 gives a smaller image, a jitter
    above 1 a random crop of the size that the image would have without jitter. Brightness, contrast and saturation are
    multiplied by factors from 1 - color_jitter to 1 + color_jitter. legacy: boxes are scaled as the seed does
    (`scale_boxes`).
    """

    config: AugmentConfig = AugmentConfig()
    legacy: bool = False

    def draw(self, height: int, width: int, random: np.random.Generator) -> Geometry:
        """Draw the geometry for an image of this size; `apply` then draws its colours from the same generator."""
        config = self.config
        min_size = int(random.integers(min(config.min_sizes), max(config.min_sizes) + 1))
        mirrored = bool(random.random() < config.hflip)
        size = resized_size(height, width, min_size, config.max_size)
        if config.scale_jitter is None:
            return Geometry(size, (0, 0, *size), mirrored)
        factor = random.uniform(*config.scale_jitter)
        least = min(_SMALLEST_IMAGE, size[0]), min(_SMALLEST_IMAGE, size[1])
        scaled = (max(least[0], round(size[0] * factor)), max(least[1], round(size[1] * factor)))
        window = (min(size[0], scaled[0]), min(size[1], scaled[1]))
        top, left = (int(random.integers(whole - part + 1)) for whole, part in zip(scaled, window))
        return Geometry(scaled, (top, left, *window), mirrored)

    def draw_part(self, height: int, width: int, part: tuple[int, int], random: np.random.Generator) -> Geometry:
        """Draw the geometry for an image of this size of which a window (height, width) `part` is in a mosaic.

        The image has 0.4 to 0.8 of the size that it would have alone, or more to fill the window. One that is so long
        and narrow that twice its size does not fill the window is stretched.
        """
        config = self.config
        min_size = int(random.integers(min(config.min_sizes), max(config.min_sizes) + 1))
        mirrored = bool(random.random() < config.hflip)
        alone = resized_size(height, width, min_size, config.max_size)
        filling = max(part[0] / alone[0], part[1] / alone[1])
        factor = max(random.uniform(*_PART_SCALE), min(2.0, filling))
        size = (max(part[0], round(alone[0] * factor)), max(part[1], round(alone[1] * factor)))
        top, left = (int(random.integers(whole - side + 1)) for whole, side in zip(size, part))
        return Geometry(size, (top, left, *part), mirrored)

    def apply(
        self, image: Tensor, boxes: Tensor, labels: Tensor, geometry: Geometry, random: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return image (3, h, w), boxes (n, 4) and labels (n,) after augmentation; cropping may leave fewer boxes."""
        image, boxes = resize(image, boxes, geometry.size, self.legacy)
        if geometry.window != (0, 0, *geometry.size):
            image, boxes, kept = crop(image, boxes, geometry.window)
            labels = labels[kept]
        if geometry.mirrored:
            image, boxes = hflip(image, boxes)
        jitter = self.config.color_jitter
        if jitter > 0:
            low, high = max(0.0, 1 - jitter), 1 + jitter
            image = adjust_colors(image, *random.uniform(low, high, 3))
        return image, boxes, labels
