"""The numbers of a data set, against counting by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paa.data.all_splits import Source, read_splits
from paa.inspection.stats import Spread, dataset_stats, measures
from tests.data.data_files import make_index, shared


def test_numbers_by_hand(tmp_path: Path) -> None:
    index = make_index(tmp_path, [(100, 200), (100, 50), (100, 100)])
    boxes = [[0, 0, 100, 25], [0, 0, 20, 40], [0, 0, 50, 100], [0, 0, 10, 10], [0, 0, 9, 9], [0, 0, 100, 100]]
    index = replace(
        index,
        boxes=np.array(boxes, np.float32),
        labels=np.array([0, 0, 1, 0, 1, 0]),
        crowd=np.array([False, False, False, False, True, True]),
    )
    stats = dataset_stats({"train": index})["train"]
    assert (stats.images, stats.empty) == (3, 1)
    assert (stats.widths.least, stats.widths.median, stats.widths.most) == (50, 100, 200)
    assert stats.image_aspect.most == 2
    assert (stats.per_image.least, stats.per_image.most) == (0, 2)
    a, b, c = stats.classes.values()
    assert list(stats.classes) == ["a", "b", "c"]
    assert (a.objects, a.crowds, a.images, a.small, a.medium, a.large) == (3, 1, 2, 2, 1, 0)
    assert (b.objects, b.crowds, b.images, b.small, b.medium, b.large) == (1, 1, 1, 0, 1, 0)
    assert (c.objects, c.images, c.side, c.share, c.aspect) == (0, 0, None, None, None)
    assert a.side is not None
    assert (a.side.least, a.side.most) == (10, 50)
    assert a.side.median == pytest.approx(np.sqrt(800))
    assert a.share is not None
    assert [a.share.least, a.share.median, a.share.most] == pytest.approx([100 / 5000, 800 / 20000, 2500 / 20000])
    assert a.aspect is not None
    assert (a.aspect.least, a.aspect.median, a.aspect.most) == (0.5, 1, 4)
    assert b.share == Spread(*[1.0] * 5)
    assert stats.all.objects == 4


def test_an_empty_split(tmp_path: Path) -> None:
    index = make_index(tmp_path, [(20, 30)], boxes_each=0)
    stats = dataset_stats({"test": index})["test"]
    assert (stats.all.objects, stats.all.side, stats.empty) == (0, None, 1)
    assert len(measures(index).side) == 0


def test_real_sets() -> None:
    splits = read_splits(Source(shared("bccd")))
    stats = dataset_stats(splits)
    assert {split: one.images for split, one in stats.items()} == {"train": 205, "val": 87, "test": 72}
    assert sum(one.all.objects for one in stats.values()) == 4888
    assert {name: sum(one.classes[name].objects for one in stats.values()) for name in ("RBC", "WBC", "Platelets")} == {
        "RBC": 4155,
        "WBC": 372,
        "Platelets": 361,
    }
