"""Several splits of a data set as one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from paa.data.index import DatasetIndex


def merge(indexes: Sequence[DatasetIndex]) -> DatasetIndex:
    """Return all images of indexes with the same classes, an image file of several of them once.

    Images keep their ids if these differ, and are numbered from 1 otherwise.
    """
    seen: set[Path] = set()
    kept: list[DatasetIndex] = []
    for index in indexes:
        new = [i for i in range(len(index)) if index.path(i) not in seen]
        seen.update(index.path(i) for i in new)
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
