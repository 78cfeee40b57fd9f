"""A validation set for a data set that has none: a share of its training images, chosen by their names alone."""

from __future__ import annotations

import hashlib
import unicodedata
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from paa.data.index import DatasetIndex
from paa.errors import DataError

_ROBOFLOW = ".rf."  # name_jpg.rf.HASH.jpg: Roboflow's copies of one image, which differ in the hash


def split_off(index: DatasetIndex, fraction: float) -> tuple[DatasetIndex, DatasetIndex]:
    """Return the images to train on and those to validate on, about `fraction` of them, each in the index's order.

    An image's side depends on its own file name only: not on its folder, the order, other images or the machine, so
    that a data set that grows keeps its validation images. Roboflow's copies of an image stay together. Where chance
    leaves one side empty, the image nearest to the threshold goes there. DataError unless there are two different
    images.
    """
    places = _places(index)
    lowest, highest = places.min(initial=1.0), places.max(initial=0.0)
    if lowest >= highest:
        raise DataError(
            f"{index.root}: {len(index)} images of one original cannot be both trained and validated on; name "
            "validation data with --val-data, or train without validation: --val-batch-size 0"
        )
    chosen = places < fraction
    if not chosen.any():
        chosen = places == lowest
    elif chosen.all():
        chosen = places < highest
    return index.select(np.flatnonzero(~chosen)), index.select(np.flatnonzero(chosen))


def _places(index: DatasetIndex) -> npt.NDArray[np.float64]:
    """Return a number (I,) from 0 to 1 for each image, a hash of its name; equal for copies of one original."""
    return np.array([_place(name.decode("utf-8", "surrogateescape")) for name in index.file_names.tolist()])


def original_name(file_name: str) -> str:
    """Return a file's name without its folder; for Roboflow's copies of an image, the name that they have in common."""
    name = PurePosixPath(file_name).name
    return name.rpartition(_ROBOFLOW)[0] or name


def _place(file_name: str) -> float:
    # file systems differ in how they write accents
    text = unicodedata.normalize("NFC", original_name(file_name)).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(text).digest()[:6], "big") / 2**48
