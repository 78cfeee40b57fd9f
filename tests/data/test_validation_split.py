"""A validation set from the training images: by names alone."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paa.data.index import DatasetIndex
from paa.data.validation_split import split_off
from paa.errors import DataError


def named(*names: str) -> DatasetIndex:
    """Return an index of images of these names, each with one box."""
    count = len(names)
    return DatasetIndex(
        root=Path("set"),
        file_names=np.array([name.encode() for name in names], np.bytes_),
        image_ids=np.arange(count),
        sizes=np.full((count, 2), 10, np.int32),
        offsets=np.arange(count + 1),
        boxes=np.tile(np.array([[1, 1, 9, 9]], np.float32), (count, 1)),
        labels=np.zeros(count, np.int64),
        crowd=np.zeros(count, np.bool_),
        areas=np.full(count, 64, np.float32),
        names=("a",),
        category_ids=np.array([1]),
    )


def names(index: DatasetIndex) -> list[str]:
    return [name.decode() for name in index.file_names.tolist()]


MANY = [f"images/{number:04}.jpg" for number in range(2000)]


@pytest.mark.parametrize("fraction", [0.05, 0.15, 0.5, 0.9])
def test_the_share(fraction: float) -> None:
    train, val = split_off(named(*MANY), fraction)
    assert len(val) / len(MANY) == pytest.approx(fraction, abs=0.03)
    assert sorted(names(train) + names(val)) == MANY
    assert names(val) == sorted(names(val))  # in the index's order
    assert len(val.boxes) == len(val)


def test_a_side_depends_on_the_name_alone() -> None:
    _, val = split_off(named(*MANY), 0.15)
    others = np.random.default_rng(0).permutation(MANY)[:500].tolist()
    _, of_others = split_off(named(*others), 0.15)
    assert set(names(of_others)) == set(names(val)) & set(others)
    _, moved = split_off(named(*(name.replace("images", "other/folder") for name in MANY)), 0.15)
    assert [Path(name).name for name in names(moved)] == [Path(name).name for name in names(val)]
    _, more = split_off(named(*MANY), 0.3)
    assert set(names(val)) < set(names(more))


def test_the_sides_of_today_are_those_of_every_version() -> None:
    """Else a run could not be resumed by another version."""
    _, val = split_off(named(*(f"{number}.jpg" for number in range(40))), 0.15)
    assert names(val) == ["26.jpg", "34.jpg", "36.jpg", "38.jpg"]


def test_copies_of_an_image_stay_together() -> None:
    copies = [f"{number}_jpg.rf.{copy:032x}.jpg" for number in range(100) for copy in range(3)]
    train, val = split_off(named(*copies), 0.3)
    originals = [{name.split("_")[0] for name in names(side)} for side in (train, val)]
    assert originals[0].isdisjoint(originals[1])
    assert len(val) == 3 * len(originals[1])


def test_accents_written_in_two_ways() -> None:
    accented = [f"{number} é.jpg" for number in range(100)]
    _, val = split_off(named(*accented), 0.3)
    _, decomposed = split_off(named(*(unicodedata.normalize("NFD", name) for name in accented)), 0.3)
    assert [unicodedata.normalize("NFC", name) for name in names(decomposed)] == names(val)


@pytest.mark.parametrize("fraction", [1e-9, 1 - 1e-9])
def test_no_side_is_empty(fraction: float) -> None:
    train, val = split_off(named(*MANY[:20]), fraction)
    assert min(len(train), len(val)) == 1
    assert len(train) + len(val) == 20


@pytest.mark.parametrize("given", [["a.jpg"], ["a.jpg", "b/a.jpg"], ["a.rf.1.jpg", "a.rf.2.jpg"]])
def test_one_image_cannot_be_split(given: list[str]) -> None:
    with pytest.raises(DataError, match=r"cannot be both trained and validated on.*--val-batch-size 0"):
        split_off(named(*given), 0.5)


def test_names_that_are_not_unicode() -> None:
    index = replace(named("a.jpg", "b.jpg"), file_names=np.array([b"\xff.jpg", b"b.jpg"]))
    train, val = split_off(index, 0.5)
    assert len(train) == len(val) == 1
