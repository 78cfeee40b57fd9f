"""Mosaic: one image put together of parts of four (YOLOv4, Bochkovskiy et al. 2020), for small data sets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from paa.data.augment import TrainTransform
from paa.data.batch import Sample

_CENTRE = (0.3, 0.7)  # range of the point where the four parts meet, as shares of the sides
_LEAST_SIDE = 32  # pixels


def make_mosaic(samples: Sequence[Sample], transform: TrainTransform, random: np.random.Generator) -> Sample | None:
    """Return one image with a window of each of four in its corners, and the boxes in these, clipped.

    The image has the size that `transform` would give the first of them by the same random choices. None if a side of
    it is shorter than 32 pixels.
    """
    height, width = transform.draw(samples[0][0].shape[1], samples[0][0].shape[2], random).window[2:]
    if min(height, width) < _LEAST_SIDE:
        return None
    y, x = (round(side * random.uniform(*_CENTRE)) for side in (height, width))
    canvas = torch.empty((height, width, 3), dtype=torch.uint8).permute(2, 0, 1)
    boxes, labels = [], []
    corners = ((0, 0, y, x), (0, x, y, width), (y, 0, height, x), (y, x, height, width))
    for (image, image_boxes, image_labels), (top, left, bottom, right) in zip(samples, corners, strict=True):
        geometry = transform.draw_part(image.shape[1], image.shape[2], (bottom - top, right - left), random)
        part, part_boxes, part_labels = transform.apply(image, image_boxes, image_labels, geometry, random)
        canvas[:, top:bottom, left:right] = part
        boxes.append(part_boxes + part_boxes.new_tensor([left, top, left, top]))
        labels.append(part_labels)
    return canvas, torch.cat(boxes), torch.cat(labels)
