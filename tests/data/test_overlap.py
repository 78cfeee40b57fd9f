from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from paa.config import DataConfig
from paa.data.overlap import overlap_warning
from paa.training.run_data import read_data
from tests.data.data_files import coco_json, make_index


def test_overlap_warning(tmp_path: Path) -> None:
    index = make_index(tmp_path / "a", [(60, 80)] * 6)
    one, two = index.select(np.arange(4)), index.select(np.array([5, 3, 2]))
    assert overlap_warning(one, two) == (
        f"2 of 3 validation images are training images too, {tmp_path.resolve()}/a/3.png first: AP will be too high"
    )
    assert overlap_warning(one, index.select(np.array([4, 5]))) is None
    assert overlap_warning(one, make_index(tmp_path / "b", [(60, 80)] * 4)) is None  # other files of the same names


def test_through_a_link_and_another_root(tmp_path: Path) -> None:
    coco_json(tmp_path / "set" / "train.json")
    (tmp_path / "link").symlink_to(tmp_path / "set")
    train, *_ = read_data(DataConfig(path=tmp_path / "set"), False)
    val, *_ = read_data(DataConfig(path=tmp_path / "link"), False)
    assert (overlap_warning(train, val) or "").startswith("2 of 2 validation images")


def test_a_warning_at_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for split in ("train", "val"):
        coco_json(tmp_path / f"{split}.json")
    with caplog.at_level(logging.WARNING, "paa"):
        read_data(DataConfig(path=tmp_path), True)
    assert any("2 of 2 validation images are training images too" in r.getMessage() for r in caplog.records)
