"""What a data set holds in numbers: images and objects of each split and class, their sizes and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from paa.data.index import DatasetIndex
from paa.inspection.anchors import image_of_rows

_MEDIUM, _LARGE = 32.0**2, 96.0**2  # square pixels from which objects are medium and large, as COCO counts them

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """How values are spread: the least, the value that a twentieth do not reach, the median, 95 percent, the most."""

    least: float
    low: float
    median: float
    high: float
    most: float


@dataclass(frozen=True)
class ObjectStats:
    """The objects of a class, or all: crowds and difficult ones are counted, and left out of everything else.

    images: how many images have one. small, medium, large: how many have an area below 32 x 32 pixels, below 96 x 96,
    and the others. side: of the square with the area of the box, in pixels. share: the area of the box as a share of
    the image's. aspect: width by height. All three are None without objects.
    """

    objects: int
    crowds: int
    images: int
    small: int
    medium: int
    large: int
    side: Spread | None
    share: Spread | None
    aspect: Spread | None


@dataclass(frozen=True)
class SplitStats:
    """A split. empty: images without objects. per_image: objects of an image. classes: by name.

    widths, heights, image_aspect (width by height): of the images.
    """

    images: int
    empty: int
    widths: Spread
    heights: Spread
    image_aspect: Spread
    per_image: Spread
    all: ObjectStats
    classes: dict[str, ObjectStats]


@dataclass(frozen=True)
class Measures:
    """The measures of the A objects of an index that are no crowds, for histograms: see `ObjectStats`.

    image (A,), labels (A,): the position of each one's image, and its class.
    """

    image: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    side: Values
    share: Values
    aspect: Values


def measures(index: DatasetIndex) -> Measures:
    """Return the measures of the objects of a data set."""
    kept = ~index.crowd
    boxes, image = index.boxes[kept].astype(np.float64), image_of_rows(index)[kept]
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    area = width * height
    return Measures(
        image, index.labels[kept], np.sqrt(area), area / index.sizes[image].astype(np.float64).prod(1), width / height
    )


def dataset_stats(splits: Mapping[str, DatasetIndex]) -> dict[str, SplitStats]:
    """Return the numbers of each split, by its name."""
    return {split: _split_stats(index) for split, index in splits.items()}


def _split_stats(index: DatasetIndex) -> SplitStats:
    measured = measures(index)
    per_image = np.bincount(measured.image, minlength=len(index))
    heights, widths = index.sizes.T.astype(np.float64)
    return SplitStats(
        images=len(index),
        empty=int((per_image == 0).sum()),
        widths=_known_spread(widths),
        heights=_known_spread(heights),
        image_aspect=_known_spread(widths / heights),
        per_image=_known_spread(per_image.astype(np.float64)),
        all=_object_stats(measured, np.ones(len(measured.labels), np.bool_), int(index.crowd.sum())),
        classes={
            name: _object_stats(measured, measured.labels == label, int((index.labels[index.crowd] == label).sum()))
            for label, name in enumerate(index.names)
        },
    )


def _object_stats(measured: Measures, chosen: npt.NDArray[np.bool_], crowds: int) -> ObjectStats:
    area = measured.side[chosen] ** 2
    return ObjectStats(
        objects=int(chosen.sum()),
        crowds=crowds,
        images=len(np.unique(measured.image[chosen])),
        small=int((area < _MEDIUM).sum()),
        medium=int(((area >= _MEDIUM) & (area < _LARGE)).sum()),
        large=int((area >= _LARGE).sum()),
        side=_spread(measured.side[chosen]),
        share=_spread(measured.share[chosen]),
        aspect=_spread(measured.aspect[chosen]),
    )


def _spread(values: Values) -> Spread | None:
    return _known_spread(values) if len(values) else None


def _known_spread(values: Values) -> Spread:
    return Spread(*np.quantile(values, (0, 0.05, 0.5, 0.95, 1)).tolist())
