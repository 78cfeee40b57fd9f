"""Folders that are named as splits, or whose names contain one."""

from __future__ import annotations

from pathlib import Path

import pytest

from paa.data.files.split_folders import missing_split, split_folders
from tests.data.data_files import write_image
from tests.data.formats.voc.voc_files import fails, make, names, read_voc, write_lists
from tests.data.formats.yolo.yolo_files import read_yolo


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
        (("images_train", "val_data"), {"images_train": "images_train", "val_data": "val_data"}),
        (("train1", "train2"), {}),  # parts of one split
        (("train1", "train2", "test1"), {"train1": "train", "train2": "train", "test1": "test"}),
        (("train", "test1"), {"train": "train"}),
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
    assert names(read_voc(tmp_path / "flat", "train")) == [f"{train}/a.png"]
    assert names(read_voc(tmp_path / "flat", "test")) == [f"{test}/a.png"]
    assert "no 'val': it has test, train" in fails(tmp_path / "flat", split="val")
    make(tmp_path / "apart", "Annotations/a.xml", "Annotations/b.xml", f"images/{train}/a.png", f"images/{test}/b.png")
    assert names(read_voc(tmp_path / "apart", "test")) == [f"images/{test}/b.png"]
    make(tmp_path / "one", f"{train}/a.xml", f"{train}/a.png", f"{more} 2/b.xml", f"{more} 2/b.png")
    assert len(read_voc(tmp_path / "one", "train")) == 2  # both of one split, so parts of one data set


def test_lists_come_before_names_that_contain_a_split(tmp_path: Path) -> None:
    for folder in ("VOC2007_train", "VOC2007_test"):
        make(tmp_path / folder, *(f"Annotations/{folder}{stem}.xml" for stem in "ab"))
        make(tmp_path / folder, *(f"JPEGImages/{folder}{stem}.png" for stem in "ab"))
    write_lists(tmp_path / "VOC2007_train", train="VOC2007_traina\n", val="VOC2007_trainb\n")
    write_lists(tmp_path / "VOC2007_test", test="VOC2007_testb\n")
    for split, image in (("train", "traina"), ("val", "trainb"), ("test", "testb")):
        assert [name.rpartition("_")[2] for name in names(read_voc(tmp_path, split))] == [f"{image}.png"]


def test_yolo_folders_whose_names_contain_a_split(tmp_path: Path) -> None:
    for folder in ("cats_train", "dogs_train", "cats-val"):
        write_image(tmp_path / folder / "a.png")
        (tmp_path / folder / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "classes.txt").write_text("cat\n")
    train = read_yolo(tmp_path, "train")
    assert [train.path(i).parent.name for i in range(len(train))] == ["cats_train", "dogs_train"]
    val = read_yolo(tmp_path, "val")
    assert [val.path(i).parent.name for i in range(len(val))] == ["cats-val"]


def test_the_folder_of_a_split_is_given(tmp_path: Path) -> None:
    """Given as --val-data, for example: the name of the folder says which split it is."""
    make(tmp_path, "train/a.xml", "train/a.png", "valid/b.xml", "valid/b.png")
    assert names(read_voc(tmp_path / "valid", "val")) == ["b.png"]
    assert "no 'test'" in fails(tmp_path / "valid", split="test")


def test_options_that_help_where_a_split_is_missing() -> None:
    assert "x: no 'train': it has test; " in str(missing_split(Path("x"), "train", ["test"]))
    assert "--train-split NAME (paa eval: --split, paa data: --splits)" in str(
        missing_split(Path("x"), "train", ["test"])
    )
    assert "--val-batch-size 0" in str(missing_split(Path("x"), "val", []))
    for own in ("test", "fold_1"):  # a split for training, validation or paa eval
        assert "--train-split or --val-split NAME (paa eval: --split, paa data: --splits)" in str(
            missing_split(Path("x"), own, [])
        )
