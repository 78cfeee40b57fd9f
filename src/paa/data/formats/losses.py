"""What data sets in COCO JSON have, and files of other formats have no place for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from paa.data.index import DatasetIndex


def lost_with_json(splits: Mapping[str, DatasetIndex]) -> list[str]:
    """Return, in a few words each, what only COCO JSON holds of these splits: ids, and areas of masks."""
    lost = []
    ids = next(iter(splits.values())).category_ids
    if not any(np.array_equal(ids, np.arange(len(ids)) + first) for first in (0, 1)):
        lost.append("the ids of classes")
    if any(not np.array_equal(index.image_ids, np.arange(1, len(index) + 1)) for index in splits.values()):
        lost.append("the ids of images")
    if any(not _are_box_areas(index) for index in splits.values()):
        lost.append("areas other than those of the boxes")
    return lost


def _are_box_areas(index: DatasetIndex) -> bool:
    sides = index.boxes[:, 2:] - index.boxes[:, :2]
    return bool(np.allclose(index.areas, sides.prod(1), rtol=1e-3, atol=1e-3))
