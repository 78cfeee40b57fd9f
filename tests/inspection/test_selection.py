"""Which images and objects of a data set are looked at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paa.data.index import DatasetIndex
from paa.errors import ConfigError
from paa.inspection.selection import Wanted, select, spread
from tests.data.data_files import make_index


@pytest.fixture
def index(tmp_path: Path) -> DatasetIndex:
    """Three images, of 2, 1 and 0 objects: a of side 4, b of side 20, a of side 50."""
    three = make_index(tmp_path, [(100, 100)] * 3, boxes_each=1)
    boxes = np.array([[0, 0, 4, 4], [0, 0, 10, 40], [5, 5, 55, 55]], np.float32)
    return replace(
        three,
        boxes=boxes,
        labels=np.array([0, 1, 0]),
        offsets=np.array([0, 2, 3, 3]),
        image_ids=np.array([5, 8, 13]),
    )


@pytest.mark.parametrize(
    ("wanted", "images", "objects"),
    [
        (Wanted(), [0, 1, 2], [0, 1, 2]),
        (Wanted(classes=("a",)), [0, 1], [0, 2]),
        (Wanted(classes=("c",)), [], []),
        (Wanted(classes=("a", "b"), least_side=10), [0, 1], [1, 2]),
        (Wanted(most_side=20), [0], [0, 1]),
        (Wanted(least_side=4.5, most_side=19), [], []),
        (Wanted(images=("1.png", "13")), [1, 2], [0, 1, 2]),
        (Wanted(images=("[01]*",)), [0, 1, 2], [0, 1, 2]),
        (Wanted(images=("*2.png",)), [2], [0, 1, 2]),
        (Wanted(classes=("b",), images=("0",)), [0], [1]),
        (Wanted(images=("nothing",)), [], [0, 1, 2]),
    ],
)
def test_what_is_wanted(index: DatasetIndex, wanted: Wanted, images: list[int], objects: list[int]) -> None:
    positions, chosen = select(index, wanted)
    assert positions.tolist() == images
    assert np.flatnonzero(chosen).tolist() == objects


def test_a_class_that_is_unknown(index: DatasetIndex) -> None:
    with pytest.raises(ConfigError, match="no class 'cat': the data set has a, b, c"):
        select(index, Wanted(classes=("cat",)))


def test_images_are_evenly_spread() -> None:
    assert spread(np.arange(5), 5).tolist() == [0, 1, 2, 3, 4]
    assert spread(np.arange(3), 5).tolist() == [0, 1, 2]
    assert spread(np.arange(101), 5).tolist() == [0, 25, 50, 75, 100]
