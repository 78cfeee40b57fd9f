"""COCO JSON beside images that stay where they are."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from paa.data.all_splits import Source, read_splits
from paa.data.formats.coco.write_beside import write_beside
from paa.errors import RunError
from tests.data.data_files import make_index


@pytest.mark.parametrize("place", ["splits", "set/splits", "far/away/splits"])
def test_images_are_found_by_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    index = make_index(tmp_path / "set" / "train", [(20, 30)] * 3)
    make_index(tmp_path / "set" / "other", [(20, 30)] * 3)  # files of the same names
    monkeypatch.chdir(tmp_path)
    write_beside({"train": index.select(np.array([0, 2])), "val": index.select(np.array([1]))}, Path(place))
    for path in (Path(place), tmp_path / place):
        train, val = read_splits(Source(path, allow_outside=(tmp_path,))).values()
        assert [os.path.realpath(train.path(i)) for i in range(2)] == [str(index.path(i)) for i in (0, 2)]
        assert os.path.realpath(val.path(0)) == str(index.path(1))
        assert train.boxes.tolist() == index.boxes[[0, 1, 4, 5]].tolist()
        assert (train.names, train.image_ids.tolist()) == (index.names, [1, 3])
    record = json.loads((tmp_path / place / "val.json").read_text())["images"][0]
    assert not Path(record["file_name"]).is_absolute()
    with pytest.raises(RunError, match="exists already"):
        write_beside({"train": index}, Path(place))


def test_a_folder_that_is_a_link(tmp_path: Path) -> None:
    index = make_index(tmp_path / "set", [(20, 30)])
    (tmp_path / "disk" / "deep").mkdir(parents=True)
    (tmp_path / "here").symlink_to(tmp_path / "disk" / "deep")
    write_beside({"train": index}, tmp_path / "here" / "splits")
    (train,) = read_splits(Source(tmp_path / "here" / "splits", allow_outside=(tmp_path,))).values()
    assert os.path.realpath(train.path(0)) == str(index.path(0))
