from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paa.data.images.read import read_size
from paa.data.read_report import ReadReport
from paa.errors import AnnotationError, ImageError
from tests.data.data_files import shared
from tests.data.formats.voc.voc_files import fails, read_voc, write_lists, write_xml


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_xml(tmp_path, "a", [("dog", (1, 1, 80, 60)), ("cat", (11, 21, 30, 40))])
    write_xml(tmp_path, "b", [("cat", (0, 5, 90, 20.5))])
    write_xml(tmp_path, "c", [("ant", (5, 5, 5, 5))])
    write_xml(tmp_path, "d")
    write_lists(tmp_path, train="a\nd\n", val="b\n\n", test="c\nb\n")
    return tmp_path


def test_pixels_are_one_based_and_inclusive(folder: Path) -> None:
    index = read_voc(folder, "train")
    assert index.boxes.tolist() == [[0, 0, 80, 60], [10, 20, 30, 40]]
    assert index.areas.tolist() == [4800, 400]
    assert index.offsets.tolist() == [0, 2, 2]
    assert index.sizes.tolist() == [[60, 80]] * 2
    assert index.path(1) == folder / "JPEGImages" / "d.png"
    assert read_voc(folder, "val").boxes.tolist() == [[0, 4, 80, 20.5]]  # clipped
    assert read_voc(folder, "test").boxes[0].tolist() == [4, 4, 5, 5]  # one pixel


def test_all_splits_have_the_same_names(folder: Path) -> None:
    for split in ("train", "val", "test"):
        assert read_voc(folder, split).names == ("ant", "cat", "dog")
    assert read_voc(folder, "train").labels.tolist() == [2, 1]
    given = read_voc(folder, "train", names=["dog", "cow", "cat"])
    assert given.labels.tolist() == [0, 2]
    assert given.names == ("dog", "cow", "cat")
    assert len(set(given.category_ids.tolist())) == 3
    assert "class 'ant' is unknown to the model" in fails(folder, split="test", names=["dog", "cat"])


def test_split_synonyms_and_class_lists(folder: Path) -> None:
    assert len(read_voc(folder, "validation")) == 1
    write_lists(folder, cat_train="a  1\nb -1\nd  0\n")
    assert len(read_voc(folder, "cat_train")) == 3


def test_without_lists_train_is_everything(tmp_path: Path) -> None:
    for stem in ("y", "x"):
        write_xml(tmp_path, stem, [("cat", (1, 1, 5, 5))])
    index = read_voc(tmp_path, "train")
    assert [index.path(i).stem for i in range(2)] == ["x", "y"]
    message = fails(tmp_path, split="val")
    assert "no 'val': it has train (all of it" in message
    for option in ("--val-split NAME", "paa eval: --split", "--val-data", "--val-batch-size 0"):
        assert option in message


def test_what_macos_leaves_behind(tmp_path: Path) -> None:
    write_xml(tmp_path, "a", [("cat", (1, 1, 5, 5))])
    (tmp_path / "Annotations" / "._a.xml").write_bytes(b"\0\5\x16\7")
    (tmp_path / "JPEGImages" / "._a.png").write_bytes(b"\0\5\x16\7")
    assert len(read_voc(tmp_path, "train")) == 1


def test_list_that_is_not_text(folder: Path) -> None:
    (folder / "ImageSets" / "Main" / "train.txt").write_bytes(b"\xff\xfe\0")
    assert "train.txt: cannot be read" in fails(folder)


def test_devkit_of_two_years(tmp_path: Path) -> None:
    for year, stem in (("VOC2007", "a"), ("VOC2012", "b")):
        write_xml(tmp_path / "VOCdevkit" / year, stem, [(stem, (1, 1, 5, 5))])
        write_lists(tmp_path / "VOCdevkit" / year, train=stem)
    write_lists(tmp_path / "VOCdevkit" / "VOC2007", test="a")
    for path in (tmp_path, tmp_path / "VOCdevkit"):
        index = read_voc(path, "train")
        assert len(index) == 2
        assert all(index.path(i).is_file() for i in range(2))
        assert len(read_voc(path, "test")) == 1
        assert read_voc(path, "test").names == ("a", "b")
    assert read_voc(tmp_path / "VOCdevkit" / "VOC2012", "train").names == ("b",)


def test_difficult_is_crowd(tmp_path: Path) -> None:
    write_xml(tmp_path, "a", [("cat", (1, 1, 5, 5))], more="<difficult>1</difficult>")
    write_xml(tmp_path, "b", [("cat", (1, 1, 5, 5))], more="<difficult>0</difficult>")
    index = read_voc(tmp_path, "train")
    assert index.crowd.tolist() == [True, False]
    assert len(index.targets(0)[0]) == 0
    assert len(read_voc(tmp_path, "train", keep_empty=False)) == 1


@pytest.mark.parametrize("size", ["", "<size><width>0</width><height>0</height></size>", "<size><width/></size>"])
def test_a_missing_size_is_the_images(tmp_path: Path, size: str) -> None:
    write_xml(tmp_path, "a", [("cat", (1, 1, 5, 5))], size=size)
    assert read_voc(tmp_path, "train").sizes.tolist() == [[60, 80]]
    (tmp_path / "JPEGImages" / "a.png").write_text("no image")
    with pytest.raises(ImageError):
        read_voc(tmp_path, "train")


@pytest.mark.parametrize(
    ("corners", "says"),
    [
        ((10, 5, 6, 9), "has width -3"),
        ((1, 10, 5, 5), "has height -4"),
        ((1, "nan", 5, 5), "has y nan"),
        ((1, "", 5, 5), "has no usable bndbox"),
        ((1, "two", 5, 5), "has no usable bndbox"),
    ],
)
def test_wrong_box(tmp_path: Path, corners: Any, says: str) -> None:
    write_xml(tmp_path, "a", [("cat", (1, 1, 5, 5)), ("cat", corners)])
    message = fails(tmp_path, AnnotationError)
    assert (
        message == f"{tmp_path}: {Path('Annotations/a.xml')} object 2 {says}; fix it, or go on without it: --skip-bad"
    )
    report = ReadReport(skip_bad=True)
    assert read_voc(tmp_path, "train", report).boxes.tolist() == [[0, 0, 5, 5]]
    assert report.left_out == [f"{tmp_path}: {Path('Annotations/a.xml')} object 2 {says}"]


def test_object_without_name(tmp_path: Path) -> None:
    write_xml(tmp_path, "a", [("cat", (1, 1, 5, 5)), ("", (1, 1, 5, 5))])
    assert "object 2 has no name" in fails(tmp_path, AnnotationError)


def test_broken_xml(folder: Path) -> None:
    (folder / "Annotations" / "a.xml").write_text("<annotation>\n<object>")
    message = fails(folder, AnnotationError)
    assert "a.xml: broken XML" in message
    assert "line 2" in message


@pytest.mark.parametrize(
    ("remove", "says"),
    [
        ("Annotations/a.xml", "train.txt: a is listed in train but has no XML file"),
        ("JPEGImages/a.png", "a.xml: has no image: there is no a.* in "),
    ],
)
def test_missing_files(folder: Path, remove: str, says: str) -> None:
    (folder / remove).unlink()
    assert says in fails(folder, AnnotationError)
    assert len(read_voc(folder, "train", ReadReport(skip_bad=True))) == 1


def test_missing_list_empty_list_and_no_objects(folder: Path) -> None:
    message = fails(folder, split="other")
    assert "no 'other': it has test, train, val" in message
    write_lists(folder, train="\n")
    assert "no images in 'train'" in fails(folder)
    assert "no VOC annotations" in fails(folder / "JPEGImages")


def test_no_objects_anywhere(tmp_path: Path) -> None:
    write_xml(tmp_path, "a")
    assert "no objects in any annotation file" in fails(tmp_path)
    assert read_voc(tmp_path, "train", names=["cat"]).names == ("cat",)


def test_bccd() -> None:
    folder = shared("bccd")
    indices = {split: read_voc(folder, split) for split in ("train", "val", "test")}
    assert {split: (len(index), len(index.boxes)) for split, index in indices.items()} == {
        "train": (205, 2805),
        "val": (87, 1138),
        "test": (72, 945),
    }
    for index in indices.values():
        assert index.names == ("Platelets", "RBC", "WBC")
        assert (index.boxes >= 0).all()
        assert (index.boxes <= 640).all()
        assert all(read_size(index.path(i)) == tuple(index.sizes[i]) for i in range(0, len(index), 20))
    assert np.bincount(indices["train"].labels).min() > 100
