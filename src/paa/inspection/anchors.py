"""How well a detector's anchors fit the objects of a data set, at the size to which its images are resized."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from paa.config import ModelConfig
from paa.data.index import DatasetIndex
from paa.data.transforms import resized_size
from paa.inspection.problems import NO_ANCHOR, SMALL, Problem, object_problem
from paa.model.detector import PADDING

MATCH_IOU = 0.1
"""Least IoU of a candidate with its object (paper, section 3.2); `paa.core.PaaAssigner.match_iou`."""

Boxes = npt.NDArray[np.float64]


def resized_boxes(index: DatasetIndex, config: ModelConfig) -> tuple[Boxes, npt.NDArray[np.int64]]:
    """Return all boxes (A, 4) as they are in the resized images, and the size (A, 2) of these, (height, width)."""
    sizes = [resized_size(height, width, config.min_size, config.max_size) for height, width in index.sizes.tolist()]
    after = np.array(sizes, np.int64).reshape(-1, 2)
    image = image_of_rows(index)
    ratios = np.tile((after / index.sizes)[image][:, ::-1], 2)  # of x and y
    boxes = index.boxes.astype(np.float64)
    if not config.legacy:
        return boxes * ratios, after[image]
    boxes[:, 2:] = np.maximum(boxes[:, 2:] - 1, boxes[:, :2])  # as `data.transforms.stretch`
    boxes *= ratios
    boxes[:, 2:] += 1
    return boxes, after[image]


def best_overlaps(boxes: Boxes, sizes: npt.NDArray[np.int64], config: ModelConfig) -> npt.NDArray[np.float64]:
    """Return the highest IoU of each box (A, 4) with any anchor of its image.

    sizes (A, 2): (height, width) of each box's image, before padding. All anchors of a level are squares of one size,
    so the one whose centre is nearest to the box's, along each side by itself, overlaps the box most.
    """
    padded = -(-sizes // PADDING) * PADDING
    cells = padded // config.strides[0]
    best = np.zeros(len(boxes))
    for stride in config.strides:
        side = config.anchor_scale * stride
        first = config.anchor_offset * stride + (0.5 if config.legacy else 0.0)
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        place = np.clip(np.rint((centres - first) / stride), 0, cells[:, ::-1] - 1)
        middle = first + place * stride
        low = np.maximum(boxes[:, :2], middle - side / 2)
        high = np.minimum(boxes[:, 2:], middle + side / 2)
        shared = np.clip(high - low, 0, None).prod(1)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        best = np.maximum(best, shared / (area + side**2 - shared))
        cells = -(-cells // 2)
    return best


def anchor_problems(split: str, index: DatasetIndex, config: ModelConfig, small: float) -> Iterator[Problem]:
    """Yield the objects to train on that are very small after resizing, and those that no anchor overlaps enough.

    small: side, in pixels of the resized image, of the square whose area is that of the largest "very small" object.
    """
    boxes, sizes = resized_boxes(index, config)
    sides = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1))
    overlaps = best_overlaps(boxes, sizes, config)
    image = image_of_rows(index)
    for row in np.flatnonzero(~index.crowd & (sides < small)).tolist():
        fault = f"has {sides[row]:.1f} pixels a side where the short side of images has {config.min_size}"
        yield object_problem(SMALL, split, index, int(image[row]), row, fault)
    for row in np.flatnonzero(~index.crowd & (overlaps < MATCH_IOU)).tolist():
        width, height = boxes[row, 2:] - boxes[row, :2]
        fault = (
            f"is {width:.0f} x {height:.0f} pixels where the short side of images has {config.min_size}, and overlaps "
            f"no anchor by more than {overlaps[row]:.2f}"
        )
        yield object_problem(NO_ANCHOR, split, index, int(image[row]), row, fault)


def image_of_rows(index: DatasetIndex) -> npt.NDArray[np.int64]:
    """Return the position of the image of each box (A,)."""
    return np.repeat(np.arange(len(index)), np.diff(index.offsets))
