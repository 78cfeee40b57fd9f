"""Choosing images of a data set to look at: by class, size of objects, and name or id of the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from paa.data.files.paths import matches
from paa.data.index import DatasetIndex
from paa.errors import ConfigError
from paa.inspection.anchors import image_of_rows


@dataclass(frozen=True)
class Wanted:
    """Which images and objects are looked at; an image is one of them if it has such an object.

    classes: names, none for all. least_side, most_side: of the square with an object's area, in pixels of the image.
    images: names with or without their folders, in which * stands for any text, and ids; none for all.
    """

    classes: tuple[str, ...] = ()
    least_side: float = 0.0
    most_side: float = float("inf")
    images: tuple[str, ...] = ()

    @property
    def any_object(self) -> bool:
        """Whether objects of all kinds are wanted, and images without objects too."""
        return not self.classes and self.least_side == 0 and self.most_side == float("inf")


def select(index: DatasetIndex, wanted: Wanted) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the positions (n,) of the images, and which objects (A,) are wanted.

    Raises ConfigError for a class that the data set does not have.
    """
    if unknown := [name for name in wanted.classes if name not in index.names]:
        raise ConfigError(f"no class {unknown[0]!r}: the data set has {', '.join(index.names)}")
    sides = np.sqrt((index.boxes[:, 2:] - index.boxes[:, :2]).prod(1))
    objects = (sides >= wanted.least_side) & (sides <= wanted.most_side)
    if wanted.classes:
        objects &= np.isin(index.labels, [index.names.index(name) for name in wanted.classes])
    images = np.ones(len(index), np.bool_)
    if not wanted.any_object:
        images[:] = False
        images[image_of_rows(index)[objects]] = True
    if wanted.images:
        images &= [_is_named(index, i, wanted.images) for i in range(len(index))]
    return np.flatnonzero(images), np.asarray(objects)


def spread(images: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    """Return at most this many of the images, evenly spread over all of them."""
    if len(images) <= most:
        return images
    places: npt.NDArray[np.int64] = np.linspace(0, len(images) - 1, most).round().astype(np.int64)
    return np.asarray(images[places])


def _is_named(index: DatasetIndex, i: int, names: tuple[str, ...]) -> bool:
    path = index.path(i)
    below = bytes(index.file_names[i]).decode("utf-8", "surrogateescape")
    own = (path.name, path.stem, str(path), below, str(index.image_ids[i]))
    return any(matches(form, name) for name in names for form in own)
