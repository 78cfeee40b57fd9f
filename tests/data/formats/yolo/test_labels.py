"""Label files of YOLO: where they are, and what their rows are."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from paa.data.formats.yolo import read as yolo
from paa.data.read_report import ReadReport
from paa.errors import AnnotationError
from tests.data.data_files import write_image
from tests.data.formats.yolo.test_layout import BOX, ROW, make, names
from tests.data.formats.yolo.test_read import fails


def dataset(root: Path, *files: str, text: str = ROW, more: str = "", train: str = "images") -> Path:
    """Write the image a.png in images/ with the text as its labels, b.png, and other files."""
    make(root, "images/a.png", "images/b.png", "labels/a.txt", "labels/b.txt", *files, a=text)
    (root / "data.yaml").write_text(f"train: {train}\nnames: [cat, dog]\n{more}\n")
    return root


def boxes(root: Path, report: ReadReport | None = None) -> list[list[float]]:
    index = yolo.read(root, "train", report)
    return index.boxes[: index.offsets[1]].tolist()


@pytest.mark.parametrize(
    ("shape", "row"),
    [
        ("[2, 2]", "0 0.5 0.5 0.25 0.5 0.1 0.2 0.9 0.8"),
        ("[2, 3]", "0 0.5 0.5 0.25 0.5 0.1 0.2 2 0.9 0.8 0"),
        ("[4, 3]", "0 0.5 0.5 0.25 0.5 0.1 0.2 1 0.9 0.8 1 0.3 0.3 1 0.2 0.2 0"),
        ("[17, 3]", "0 0.5 0.5 0.25 0.5" + " 0.4 0.9 2" * 17),
        ("[1, 2]", "0 0.5 0.5 0.25 0.5 0 0"),
        ("[1, 2]", "0 0.5 0.5 0.25 0.5"),
        ("['2', '2']", "0 0.5 0.5 0.25 0.5 0 0 0 0"),
        ("null", "0 0.5 0.5 0.25 0.5"),
        ("[5, 3]", "0 0.5 0.5 0.25 0.5" + " -1 -1 0" * 5),  # hidden ones
    ],
)
def test_the_box_of_a_row_with_keypoints(tmp_path: Path, shape: str, row: str) -> None:
    dataset(tmp_path, text=f"{row}\n", more=f"kpt_shape: {shape}")
    np.testing.assert_allclose(boxes(tmp_path), [BOX])


@pytest.mark.parametrize(
    ("shape", "row", "says"),
    [
        ("[2, 2]", "0 0.5 0.5 0.25 0.5 0.1 0.2", "has 6 coordinates, neither a box (4) nor one with keypoints (8,"),
        (
            "[2, 3]",
            "0 0.5 0.5 0.25 0.5 0.1 0.2 0.3 0.4",
            "has 8 coordinates, neither a box (4) nor one with keypoints (10",
        ),
        ("[2, 2]", "0 0.5 0.5 0.25 0.5 0.1 nan 0.9 0.8", "has coordinate nan"),
        ("[2, 2]", "0 0.5 0.5 0.25 0.5 0.1 0.2 0.9 inf", "has coordinate inf"),
        ("[2, 2]", "0 50 50 25 50 0.1 0.2 0.9 0.8", "has coordinate 50; they must be fractions"),
    ],
)
def test_a_wrong_row_with_keypoints(tmp_path: Path, shape: str, row: str, says: str) -> None:
    dataset(tmp_path, text=f"\n{row}\n", more=f"kpt_shape: {shape}")
    assert f"{Path('labels/a.txt')} line 2 {says}" in fails(tmp_path, AnnotationError)
    assert boxes(tmp_path, ReadReport(skip_bad=True)) == []


@pytest.mark.parametrize("shape", ["17", "[17]", "[17, x]", "{a: 1}", "[17, 3, 1]"])
def test_a_wrong_shape_of_keypoints(tmp_path: Path, shape: str) -> None:
    dataset(tmp_path, more=f"kpt_shape: {shape}")
    assert "'kpt_shape' must be [keypoints, 2 or 3], not" in fails(tmp_path)


def test_keypoints_without_their_shape(tmp_path: Path) -> None:
    dataset(tmp_path, text="0 0.5 0.5 0.4 0.4 0.1 0.2 0.9 0.8\n", more="flip_idx: [1, 0]")
    assert "has 'flip_idx', as data sets of keypoints have, but no 'kpt_shape'" in fails(tmp_path)


@pytest.mark.parametrize(
    "row",
    [
        "0 0.1 0.1 nan 0.4 0.5 0.5",
        "0 nan 0.1 0.2 0.4 0.5 0.5",
        "0 0.1 0.1 0.3 0.4 0.5 NaN",
        "0 0.5 0.5 0.2 inf",
        "0 0.5 -inf 0.2 0.1",
        "0 0.1 0.1 0.3 Infinity 0.5 0.5",
        "inf 0.5 0.5 0.1 0.1",
    ],
)
def test_rows_with_what_is_no_number(tmp_path: Path, row: str) -> None:
    dataset(tmp_path, text=f"{ROW}{row}\n")
    message = fails(tmp_path, AnnotationError)
    assert f"{Path('labels/a.txt')} line 2 has " in message
    report = ReadReport(skip_bad=True)
    np.testing.assert_allclose(boxes(tmp_path, report), [BOX])
    assert len(report.left_out) == 1


@pytest.mark.parametrize(
    "row", ["0 0.5 0.5 0.25 0.5", "0.0 0.5 0.5 0.25 0.5 ", "0\t0.5\t0.5\t0.25\t5e-1", " 0  .5 .5 .25 .5"]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r", ""])
def test_forms_of_a_row(tmp_path: Path, row: str, encoding: str, ending: str) -> None:
    dataset(tmp_path)
    (tmp_path / "labels" / "a.txt").write_bytes(f"{row}{ending}".encode(encoding))
    np.testing.assert_allclose(boxes(tmp_path), [BOX])


@pytest.mark.parametrize("content", [b"\xff\xfe0", b"0 0.5 \xb5", b"0 0.5 0.5 0.2 0.2\n" + bytes(9), bytes(8)])
def test_a_label_file_that_is_no_text(tmp_path: Path, content: bytes) -> None:
    dataset(tmp_path)
    (tmp_path / "labels" / "a.txt").write_bytes(content)
    message = fails(tmp_path, AnnotationError)
    assert message.startswith(f"{tmp_path / 'labels' / 'a.txt'}: ")
    assert message.endswith("--skip-bad")
    report = ReadReport(skip_bad=True)
    assert names(yolo.read(tmp_path, "train", report)) == ["images/b.png"]  # not an image without objects
    assert len(report.left_out) == 1


def test_rows_that_stand_twice(tmp_path: Path) -> None:
    dataset(tmp_path, text=ROW * 3)
    report = ReadReport()
    assert len(boxes(tmp_path, report)) == 3
    assert "2 boxes stand in the file more than once; one is " in report.warnings[-2]
    dataset(tmp_path, text=f"{ROW}1{ROW[1:]}")  # of two classes
    report = ReadReport()
    boxes(tmp_path, report)
    assert report.warnings == []


def test_fractions_a_little_over_one(tmp_path: Path) -> None:
    dataset(tmp_path, text="0 0.75 0.5 0.502 1.001\n")
    report = ReadReport()
    assert boxes(tmp_path, report)[0][2:] == [80, 60]
    assert not any("leave their image" in warning for warning in report.warnings)


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
    np.testing.assert_allclose(boxes(tmp_path, report), [BOX])
    assert report.unlabelled == 0
    assert report.warnings == []


def test_a_folder_above_the_data_set_called_images(tmp_path: Path) -> None:
    root = tmp_path / "images" / "set"
    make(root, "a.png", "a.txt")
    (root / "data.yaml").write_text("train: .\nnames: [cat]\n")
    assert len(boxes(root)) == 1


@pytest.mark.parametrize(("without", "told"), [(1, False), (2, False), (3, True), (8, True)])
def test_images_without_label_files(tmp_path: Path, without: int, told: bool) -> None:
    dataset(tmp_path, *(f"images/z{i}.png" for i in range(without)))
    report = ReadReport()
    index = yolo.read(tmp_path, "train", report)
    assert len(index) == 2 + without
    assert report.unlabelled == without
    says = (
        f"{tmp_path / 'data.yaml'}: {without} of {2 + without} images have no label file, and so no objects; "
        f"expected such as {tmp_path / 'labels' / 'z0.txt'}"
    )
    assert (says in report.warnings) == told
    assert f"{without} without a label file" in report.lines("train", index)[1]


def test_an_empty_label_file_is_one(tmp_path: Path) -> None:
    dataset(tmp_path, text="\n")
    report = ReadReport()
    assert boxes(tmp_path, report) == []
    assert report.unlabelled == 0


def test_label_files_without_an_image(tmp_path: Path) -> None:
    dataset(tmp_path, "labels/x.txt", "labels/y.txt", "labels/classes.txt", "labels/train.txt", "labels/.z.txt")
    report = ReadReport()
    boxes(tmp_path, report)
    assert f"{tmp_path / 'labels'}: 2 label files have no image: x.txt, y.txt" in report.warnings


def test_label_files_of_another_splits_images(tmp_path: Path) -> None:
    dataset(tmp_path, train="train.txt")
    (tmp_path / "train.txt").write_text("images/a.png\n")
    report = ReadReport()
    boxes(tmp_path, report)
    assert not any("have no image" in warning for warning in report.warnings)


def test_two_images_of_one_label_file(tmp_path: Path) -> None:
    dataset(tmp_path, "images/a.jpg")
    says = f"{tmp_path / 'labels' / 'a.txt'}: is the label file of both {tmp_path / 'images' / 'a.jpg'} and "
    assert fails(tmp_path, AnnotationError).startswith(says)
    report = ReadReport(skip_bad=True)
    assert names(yolo.read(tmp_path, "train", report)) == ["images/b.png"]
    assert len(report.left_out) == 1


def test_images_that_differ_in_capitals(tmp_path: Path) -> None:
    dataset(tmp_path, "images/A.png")
    if len(list((tmp_path / "images").iterdir())) < 3:
        pytest.skip("this file system knows no capitals")
    report = ReadReport()
    index = yolo.read(tmp_path, "train", report)
    assert names(index) == ["images/A.png", "images/a.png", "images/b.png"]
    assert index.offsets.tolist() == [0, 0, 1, 2]
    assert report.unlabelled == 1


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_an_image_that_is_none(tmp_path: Path, content: bytes) -> None:
    dataset(tmp_path)
    (tmp_path / "images" / "b.png").write_bytes(content)
    report = ReadReport(skip_bad=True)
    assert names(yolo.read(tmp_path, "train", report)) == ["images/a.png"]
    assert len(report.left_out) == 1
    assert "b.png" in report.left_out[0]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("0 .5 .5 .4 .4 .4 .4 .6 .6\n0 .3 .3 .2 .2 .25 .25 .35 .35\n", True),  # 2 keypoints of 2 numbers
        ("0 .5 .5 .4 .4 .4 .4 1 .6 .6 1\n0 .3 .3 .2 .2 .25 .25 1 .35 .35 0\n", True),  # of 3
        ("0 .5 .5 .4 .4 .4 .4 .6 .6\n", False),  # one alone
        ("0 .5 .5 .4 .4 .4 .4 .6 .6\n" * 2 + "0 .2 .2 .3 .2 .3 .3\n", False),  # some are polygons
        ("0 .1 .1 .9 .1 .9 .9 .1 .9\n0 .4 .4 .6 .4 .6 .6 .4 .6\n", False),  # corners
        ("0 .5 .5 .4 .4\n0 .3 .3 .2 .2\n", False),
    ],
)
def test_keypoints_without_their_shape_are_told(tmp_path: Path, rows: str, told: bool) -> None:
    report = ReadReport()
    yolo.read(dataset(tmp_path, text=rows), "train", report)
    assert any("polygons look like boxes with keypoints" in warning for warning in report.warnings) == told


def test_outlines_are_not_taken_for_keypoints(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    lines = []
    for _ in range(200):
        angles = np.sort(random.uniform(0, 2 * np.pi, random.integers(4, 30)))
        (x, y), radius = random.uniform(0.3, 0.7, 2), random.uniform(0.05, 0.3)
        points = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1).ravel()
        lines.append(" ".join(["0", *(f"{value:.4f}" for value in points)]))
    report = ReadReport()
    yolo.read(dataset(tmp_path, text="\n".join(lines)), "train", report)
    assert not any("keypoints" in warning for warning in report.warnings)
