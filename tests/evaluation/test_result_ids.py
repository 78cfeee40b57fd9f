"""Which image a text in results of another tool means: paths with folders and suffixes, or without."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from paa.evaluation.result_ids import AMBIGUOUS, UNKNOWN, find_images


def images(*names: str) -> Any:
    """Return what counts of an index of images of these names, with the ids 1, 2, ..."""
    file_names = np.array([name.encode() for name in names], np.bytes_)
    return SimpleNamespace(image_ids=np.arange(1, len(names) + 1), file_names=file_names)


INDEX = images("clip1/000012.jpg", "clip2/000012.jpg", "deep/in/a.jpg", "b.jpg", "deep/b.png")


@pytest.mark.parametrize(
    ("given", "position"),
    [
        ("clip1/000012.jpg", 0),
        ("clip2/000012", 1),
        ("frames/clip2/000012.jpg", 1),
        ("/home/ann/frames/clip1/000012", 0),
        (r"C:\frames\clip1\000012.jpg", 0),
        ("000012", AMBIGUOUS),
        ("clip3/000012.jpg", AMBIGUOUS),
        ("in/a.jpg", 2),
        ("in/a", 2),
        ("elsewhere/a", 2),
        ("b.jpg", 3),
        ("b.png", 4),
        ("deep/b", 4),
        ("b", 3),
        ("5", 4),
        ("6", UNKNOWN),
        ("0_5", UNKNOWN),  # Python's int() takes these for 5
        (" 5 ", UNKNOWN),
        ("+5", UNKNOWN),
        ("\uff15", UNKNOWN),
        ("c.jpg", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_images_by_the_longest_path_that_is_shared(given: str, position: int) -> None:
    assert find_images(INDEX, [given]).tolist() == [position]


def test_images_of_two_folders_with_the_same_names_are_not_taken_for_each_other(tmp_path: Path) -> None:
    """Detections in a whole data set, evaluated on one split whose annotations name its images without a folder."""
    index = images("1.jpg", "2.jpg")
    index.path = lambda i: tmp_path / "val" / f"{i + 1}.jpg"
    given = ["set/train/1.jpg", "set/val/1.jpg", "set/val/1.jpg", "set/train/2.jpg", "set/train/3.jpg"]
    assert find_images(index, given).tolist() == [UNKNOWN, 0, 0, 1, UNKNOWN]
    assert find_images(index, ["a/1.jpg", "b/1.jpg"]).tolist() == [0, 0]  # which of them is meant, nothing says
    assert find_images(index, ["val/1.jpg", "1.jpg", "1", "set/train/1"]).tolist() == [0, 0, 0, UNKNOWN]
