"""Folders that are named as splits, or whose names contain one."""

from __future__ import annotations

from pathlib import Path

import pytest

from paa.data.files.split_folders import split_folders
from paa.data.formats.voc import read as voc
from paa.data.formats.yolo import read as yolo
from tests.data.data_files import write_image
from tests.data.formats.voc.test_layout import make, names
from tests.data.formats.voc.test_read import fails, lists


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (
            ("train", "val2017", "Test_Images", "other"),
            {"train": "train", "val2017": "val2017", "Test_Images": "Test_Images"},
        ),
        (("train", "test_dataset"), {"train": "train"}),
        (
            ("cats_train", "dogs_train", "cats_valid"),
            {"cats_train": "train", "dogs_train": "train", "cats_valid": "val"},
        ),
        (("train_station", "harbour"), {}),
        (("contest", "constraint"), {}),
        (("my_trainval", "my_train_and_test"), {}),
    ],
)
def test_split_folders(tmp_path: Path, folders: tuple[str, ...], expected: dict[str, str]) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir()
    assert {folder.name: split for folder, split in split_folders(tmp_path).items()} == expected


@pytest.mark.parametrize("form", ["{}_dataset", "my {} set", "{}-640", "cats.{}", "{}A"])
def test_folders_whose_names_contain_a_split(tmp_path: Path, form: str) -> None:
    train, test, more = (form.format(split) for split in ("train", "test", "Train"))
    make(tmp_path / "flat", *(f"{folder}/{file}" for folder in (train, test) for file in ("a.xml", "a.png")))
    assert names(voc.read(tmp_path / "flat", "train")) == [f"{train}/a.png"]
    assert names(voc.read(tmp_path / "flat", "test")) == [f"{test}/a.png"]
    assert "no 'val': it has test, train" in fails(tmp_path / "flat", split="val")
    make(tmp_path / "apart", "Annotations/a.xml", "Annotations/b.xml", f"images/{train}/a.png", f"images/{test}/b.png")
    assert names(voc.read(tmp_path / "apart", "test")) == [f"images/{test}/b.png"]
    make(tmp_path / "one", f"{train}/a.xml", f"{train}/a.png", f"{more} 2/b.xml", f"{more} 2/b.png")
    assert len(voc.read(tmp_path / "one", "train")) == 2  # of one split: parts of a data set


def test_lists_come_before_names_that_contain_a_split(tmp_path: Path) -> None:
    for folder in ("VOC2007_train", "VOC2007_test"):
        make(tmp_path / folder, *(f"Annotations/{folder}{stem}.xml" for stem in "ab"))
        make(tmp_path / folder, *(f"JPEGImages/{folder}{stem}.png" for stem in "ab"))
    lists(tmp_path / "VOC2007_train", train="VOC2007_traina\n", val="VOC2007_trainb\n")
    lists(tmp_path / "VOC2007_test", test="VOC2007_testb\n")
    for split, image in (("train", "traina"), ("val", "trainb"), ("test", "testb")):
        assert [name.rpartition("_")[2] for name in names(voc.read(tmp_path, split))] == [f"{image}.png"]


def test_yolo_folders_whose_names_contain_a_split(tmp_path: Path) -> None:
    for folder in ("cats_train", "dogs_train", "cats-val"):
        write_image(tmp_path / folder / "a.png")
        (tmp_path / folder / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "classes.txt").write_text("cat\n")
    train = yolo.read(tmp_path, "train")
    assert [train.path(i).parent.name for i in range(len(train))] == ["cats_train", "dogs_train"]
    val = yolo.read(tmp_path, "val")
    assert [val.path(i).parent.name for i in range(len(val))] == ["cats-val"]


def test_the_folder_of_a_split_is_given(tmp_path: Path) -> None:
    """As --val-data: its own name says which split it is."""
    make(tmp_path, "train/a.xml", "train/a.png", "valid/b.xml", "valid/b.png")
    assert names(voc.read(tmp_path / "valid", "val")) == ["b.png"]
    assert "no 'test'" in fails(tmp_path / "valid", split="test")
