"""Several splits of a data set as one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from paa.data.index import DatasetIndex
from paa.errors import DataError


def merge(indexes: Sequence[DatasetIndex]) -> DatasetIndex:
    """Return all images of indexes with the same classes, an image file of several of them once.

    Images keep their ids if these differ, and are numbered from 1 otherwise. DataError for an image that several have
    with other objects: those of one would be lost.
    """
    seen: dict[Path, tuple[DatasetIndex, int]] = {}
    kept: list[DatasetIndex] = []
    for index in indexes:
        new = []
        for i in range(len(index)):
            before = seen.setdefault(index.path(i), (index, i))
            if before[0] is index:
                new.append(i)
            elif _objects(*before) != _objects(index, i):
                raise DataError(
                    f"{index.path(i)}: is in several splits with other objects in each; divide one of them, or put the "
                    "annotations together"
                )
        kept.append(index.select(np.array(new, np.int64)))
    root = Path(os.path.commonpath([index.root.absolute() for index in kept]))
    names = [os.path.relpath(index.path(i).absolute(), root) for index in kept for i in range(len(index))]
    ids = np.concatenate([index.image_ids for index in kept])
    counts = np.concatenate([np.diff(index.offsets) for index in kept])
    return DatasetIndex(
        root=root,
        file_names=np.array([os.fsencode(name) for name in names], np.bytes_),
        image_ids=ids if len(np.unique(ids)) == len(ids) else np.arange(1, len(ids) + 1),
        sizes=np.concatenate([index.sizes for index in kept]),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes=np.concatenate([index.boxes for index in kept]),
        labels=np.concatenate([index.labels for index in kept]),
        crowd=np.concatenate([index.crowd for index in kept]),
        areas=np.concatenate([index.areas for index in kept]),
        names=kept[0].names,
        category_ids=kept[0].category_ids,
    )


def _objects(index: DatasetIndex, i: int) -> list[tuple[float, ...]]:
    """Return the boxes of an image with their class, and whether each is no target, in an order of their own."""
    rows = slice(*index.offsets[i : i + 2].tolist())
    return sorted(zip(*index.boxes[rows].T.tolist(), index.labels[rows].tolist(), index.crowd[rows].tolist()))
