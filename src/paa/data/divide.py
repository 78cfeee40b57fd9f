"""Dividing a data set into splits in which each class has its share, with groups of images kept together."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from paa.data.index import DatasetIndex
from paa.errors import DataError


def divide(
    index: DatasetIndex, groups: npt.NDArray[np.int64], shares: Mapping[str, float], seed: int = 0
) -> dict[str, DatasetIndex]:
    """Return the splits, each with about its share of the images, and of the images and objects of each class.

    groups (I,): images of equal numbers go to the same split. shares: by the name of the split, in all 1. A split has
    its images in their order; which these are depends on the seed, and not on the order. Groups are placed one after
    the other, the one with the largest share of any class first, each where all splits are then nearest to their shares
    of what was placed so far; this is the idea of iterative stratification (Sechidis et al. 2011) for whole groups.
    Raises DataError where a split would be empty.
    """
    names, wanted = list(shares), np.array(list(shares.values()))
    counts = _group_counts(index, groups)
    totals = counts.sum(0)
    parts = counts[:, totals > 0] / totals[totals > 0]
    parts = np.concatenate([parts, parts[:, :1]], axis=1)  # how many images a split has counts as much as two classes
    off = np.zeros((len(names), parts.shape[1]))  # what each split has, less what it should have of all placed so far
    place = np.zeros(len(counts), np.int64)
    for group in _order(index, groups, parts, seed):
        off -= wanted[:, None] * parts[group]
        after = ((off + parts[group]) ** 2 - off**2).sum(1)
        place[group] = int(np.argmin(after))
        off[place[group]] += parts[group]
    splits = {name: np.flatnonzero(place[groups] == k) for k, name in enumerate(names)}
    if empty := [name for name, images in splits.items() if not len(images)]:
        raise DataError(
            f"{index.root}: no images are left for {empty[0]!r}: {len(counts)} groups of images that stay together are "
            "too few; take a larger share, or smaller groups"
        )
    return {name: index.select(images) for name, images in splits.items()}


def _group_counts(index: DatasetIndex, groups: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return each group's numbers (G, 2 + 2 C): images, those without objects, images and objects of each class."""
    image = np.repeat(np.arange(len(index)), np.diff(index.offsets))
    objects = np.zeros((len(index), len(index.names)), np.int64)
    np.add.at(objects, (image[~index.crowd], index.labels[~index.crowd]), 1)
    of_image = np.column_stack([np.ones(len(index), np.int64), ~objects.any(1), objects > 0, objects])
    counts = np.zeros((int(groups.max(initial=-1)) + 1, of_image.shape[1]), np.int64)
    np.add.at(counts, groups, of_image)
    return counts


def _order(
    index: DatasetIndex, groups: npt.NDArray[np.int64], parts: npt.NDArray[np.float64], seed: int
) -> npt.NDArray[np.int64]:
    """Return the groups in the order in which they are placed: large shares first, and chance among equals."""
    by_name = np.argsort(index.file_names, kind="stable")
    _, first = np.unique(groups[by_name], return_index=True)  # the place of each group's first name
    chance = np.empty(len(parts))
    chance[np.argsort(first)] = np.random.default_rng(seed).random(len(parts))
    return np.lexsort((chance, -parts.max(1).round(12)))
