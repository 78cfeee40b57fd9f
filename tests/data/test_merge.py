"""Several splits as one data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paa.data.merge import merge
from paa.errors import DataError
from tests.data.data_files import make_index


def test_all_images_and_their_objects(tmp_path: Path) -> None:
    first, second = (make_index(tmp_path / name, [(20, 30)] * 3) for name in ("a", "b"))
    second = replace(second, labels=second.labels[::-1].copy())
    whole = merge([first, second])
    assert whole.root == tmp_path
    assert [whole.path(i) for i in range(6)] == [index.path(i) for index in (first, second) for i in range(3)]
    assert whole.image_ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert whole.boxes.tolist() == first.boxes.tolist() + second.boxes.tolist()
    assert whole.labels.tolist() == first.labels.tolist() + second.labels.tolist()
    assert whole.offsets.tolist() == [0, 2, 4, 6, 8, 10, 12]


def test_ids_are_kept_where_they_differ(tmp_path: Path) -> None:
    first, second = (make_index(tmp_path / name, [(20, 30)] * 2) for name in ("a", "b"))
    second = replace(second, image_ids=np.array([9, 7]))
    assert merge([first, second]).image_ids.tolist() == [1, 2, 9, 7]
    assert merge([second]).image_ids.tolist() == [9, 7]


def test_a_file_of_both_counts_once(tmp_path: Path) -> None:
    index = make_index(tmp_path, [(20, 30)] * 3)
    whole = merge([index.select(np.array([0, 1])), index.select(np.array([1, 2]))])
    assert [whole.path(i).name for i in range(len(whole))] == ["0.png", "1.png", "2.png"]
    assert whole.image_ids.tolist() == [1, 2, 3]
    assert len(whole.boxes) == 6


def test_a_file_of_both_with_other_objects_is_an_error(tmp_path: Path) -> None:
    """Those of one split would be lost."""
    first = make_index(tmp_path, [(20, 30)])
    other = replace(first, boxes=first.boxes + 1)
    with pytest.raises(DataError, match=r"0\.png: is in several splits with other objects in each"):
        merge([first, other])
    shuffled = replace(first, boxes=first.boxes[::-1].copy(), labels=first.labels[::-1].copy())
    assert len(merge([first, shuffled])) == 1
