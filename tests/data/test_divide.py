"""Dividing a data set by shares: of images and of each class, with groups whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from paa.data.all_splits import Source, read_splits
from paa.data.divide import divide
from paa.data.index import DatasetIndex
from paa.data.merge import merge
from paa.errors import DataError
from tests.data.data_files import shared
from tests.data.test_validation_split import named, names

SHARES = {"train": 0.7, "val": 0.2, "test": 0.1}


def random_set(images: int = 300, seed: int = 0) -> DatasetIndex:
    """Return an index of images with 0 to 9 objects of six classes, the last ones rare, and some crowds."""
    random = np.random.default_rng(seed)
    counts = random.integers(0, 10, images)
    total = int(counts.sum())
    chance = np.array([0.5, 0.3, 0.1, 0.06, 0.03, 0.01])
    index = named(*(f"{i:04}.jpg" for i in range(images)))
    return replace(
        index,
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes=np.tile(np.array([[1, 1, 9, 9]], np.float32), (total, 1)),
        labels=random.choice(6, total, p=chance),
        crowd=random.random(total) < 0.05,
        areas=np.full(total, 64, np.float32),
        names=tuple("abcdef"),
        category_ids=np.arange(6),
    )


def alone(index: DatasetIndex) -> np.ndarray:
    return np.arange(len(index))


def objects(index: DatasetIndex) -> np.ndarray:
    return np.bincount(index.labels[~index.crowd], minlength=len(index.names))


@pytest.mark.parametrize("seed", range(5))
def test_every_class_has_its_share(seed: int) -> None:
    index = random_set(seed=seed)
    splits = divide(index, alone(index), SHARES, seed)
    assert sorted(name for split in splits.values() for name in names(split)) == names(index)
    total = objects(index)
    assert total.min() >= 5
    for name, split in splits.items():
        assert names(split) == sorted(names(split))
        assert len(split) / len(index) == pytest.approx(SHARES[name], abs=0.02)
        away = np.abs(objects(split) - SHARES[name] * total)
        assert (away <= np.maximum(2, 0.05 * total)).all()


def test_rare_classes_are_in_every_split_that_can_have_one() -> None:
    index = random_set(40)
    index = replace(index, labels=np.where(index.labels == 5, 0, index.labels))
    rows = index.offsets[[3, 11, 17]]
    index.labels[rows], index.crowd[rows] = 5, False
    splits = divide(index, alone(index), {"train": 0.6, "val": 0.4})
    assert [int(objects(split)[5]) for split in splits.values()] == [2, 1]


def test_groups_stay_whole() -> None:
    index = random_set()
    groups = np.random.default_rng(1).integers(0, 40, len(index))
    groups = np.unique(groups, return_inverse=True)[1]
    splits = divide(index, groups, SHARES)
    of = dict(zip(names(index), groups.tolist()))
    members = [{of[name] for name in names(split)} for split in splits.values()]
    assert sum(map(len, members)) == len(set.union(*members)) == groups.max() + 1
    for name, split in splits.items():
        assert len(split) / len(index) == pytest.approx(SHARES[name], abs=0.05)


def test_the_seed_decides_and_not_the_order() -> None:
    index = random_set()
    first = {name: names(split) for name, split in divide(index, alone(index), SHARES, 1).items()}
    assert {name: names(split) for name, split in divide(index, alone(index), SHARES, 1).items()} == first
    assert {name: names(split) for name, split in divide(index, alone(index), SHARES, 2).items()} != first
    order = np.random.default_rng(3).permutation(len(index))
    turned = divide(index.select(order), alone(index), SHARES, 1)
    assert {name: sorted(names(split)) for name, split in turned.items()} == first


def test_images_without_objects_are_shared_too() -> None:
    index = random_set()
    for name, split in divide(index, alone(index), SHARES).items():
        empty, total = (int((np.diff(i.offsets) == 0).sum()) for i in (split, index))
        assert abs(empty - SHARES[name] * total) <= 2


def test_no_objects_at_all() -> None:
    index = random_set(20)
    index = replace(index, crowd=np.ones_like(index.crowd))
    assert [len(split) for split in divide(index, alone(index), {"train": 0.75, "val": 0.25}).values()] == [15, 5]


def test_too_few_groups() -> None:
    index = random_set(20)
    with pytest.raises(DataError, match=r"no images are left for 'val': 1 groups of images that stay together"):
        divide(index, np.zeros(20, np.int64), {"train": 0.8, "val": 0.2})


@pytest.mark.parametrize("name", ["bccd", "cards", "microcontrollers"])
def test_real_sets(name: str) -> None:
    index = merge(list(read_splits(Source(shared(name))).values()))
    splits = divide(index, alone(index), {"train": 0.8, "val": 0.2})
    assert len(splits["val"]) / len(index) == pytest.approx(0.2, abs=0.01)
    assert objects(splits["val"]) / objects(index) == pytest.approx(np.full(len(index.names), 0.2), abs=0.02)
