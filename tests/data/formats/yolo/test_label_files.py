"""Which label file an image has."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from paa.data.read_report import ReadReport
from paa.errors import AnnotationError
from tests.data.data_files import write_image
from tests.data.formats.yolo.yolo_files import BOX, ROW, boxes_of_first, fails, make, names, read_yolo, write_pair


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/a.png", "labels/a.txt"),
        ("images/x/y/a.png", "labels/x/y/a.txt"),
        ("images/images/a.png", "images/labels/a.txt"),
        ("Images/a.png", "Labels/a.txt"),
        ("IMAGES/train/a.png", "labels/train/a.txt"),
        ("JPEGImages/a.png", "labels/a.txt"),
        ("images/a.png", "images/a.txt"),
        ("pics/a.png", "pics/a.txt"),
        ("pics/a.png", "labels/a.txt"),
        ("pics/a.png", "pics/labels/a.txt"),
        ("images/a.png", "labels/a.TXT"),
        ("images/a.PNG", "labels/A.txt"),
        ("images/a.b.png", "labels/a.b.txt"),
        ("images/a.png", "labels/a.png.txt"),
        ("images/é.png", f"labels/{unicodedata.normalize('NFD', 'é')}.txt"),
    ],
)
def test_places_of_label_files(tmp_path: Path, image: str, label: str) -> None:
    write_image(tmp_path / image)
    (tmp_path / label).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / label).write_text(ROW)
    (tmp_path / "data.yaml").write_text(f"train: {Path(image).parts[0]}\nnames: [cat]\n")
    report = ReadReport()
    np.testing.assert_allclose(boxes_of_first(tmp_path, report), [BOX])
    assert report.unlabelled == 0
    assert report.warnings == []


def test_a_folder_above_the_data_set_called_images(tmp_path: Path) -> None:
    root = tmp_path / "images" / "set"
    make(root, "a.png", "a.txt")
    (root / "data.yaml").write_text("train: .\nnames: [cat]\n")
    assert len(boxes_of_first(root)) == 1


@pytest.mark.parametrize(("without", "warns"), [(1, False), (2, False), (3, True), (8, True)])
def test_images_without_label_files(tmp_path: Path, without: int, warns: bool) -> None:
    write_pair(tmp_path, *(f"images/z{i}.png" for i in range(without)))
    report = ReadReport()
    index = read_yolo(tmp_path, "train", report)
    assert len(index) == 2 + without
    assert report.unlabelled == without
    says = (
        f"{tmp_path / 'data.yaml'}: {without} of {2 + without} images have no label file, and so no objects; "
        f"expected a file such as {tmp_path / 'labels' / 'z0.txt'}"
    )
    assert (says in report.warnings) == warns
    assert f"{without} without a label file" in report.lines("train", index)[1]


def test_an_empty_label_file_counts(tmp_path: Path) -> None:
    write_pair(tmp_path, text="\n")
    report = ReadReport()
    assert boxes_of_first(tmp_path, report) == []
    assert report.unlabelled == 0


def test_label_files_without_an_image(tmp_path: Path) -> None:
    write_pair(tmp_path, "labels/x.txt", "labels/y.txt", "labels/classes.txt", "labels/train.txt", "labels/.z.txt")
    report = ReadReport()
    boxes_of_first(tmp_path, report)
    assert f"{tmp_path / 'labels'}: 2 label files have no image: x.txt, y.txt" in report.warnings


def test_label_files_of_another_splits_images(tmp_path: Path) -> None:
    write_pair(tmp_path, train="train.txt")
    (tmp_path / "train.txt").write_text("images/a.png\n")
    report = ReadReport()
    boxes_of_first(tmp_path, report)
    assert not any("have no image" in warning for warning in report.warnings)


def test_two_images_of_one_label_file(tmp_path: Path) -> None:
    write_pair(tmp_path, "images/a.jpg")
    says = f"{tmp_path / 'labels' / 'a.txt'}: is the label file of both {tmp_path / 'images' / 'a.jpg'} and "
    assert fails(tmp_path, AnnotationError).startswith(says)
    report = ReadReport(skip_bad=True)
    assert names(read_yolo(tmp_path, "train", report)) == ["images/b.png"]
    assert len(report.left_out) == 1


def test_images_that_differ_in_capitals(tmp_path: Path) -> None:
    write_pair(tmp_path, "images/A.png")
    if len(list((tmp_path / "images").iterdir())) < 3:
        pytest.skip("this file system knows no capitals")
    report = ReadReport()
    index = read_yolo(tmp_path, "train", report)
    assert names(index) == ["images/A.png", "images/a.png", "images/b.png"]
    assert index.offsets.tolist() == [0, 0, 1, 2]
    assert report.unlabelled == 1
