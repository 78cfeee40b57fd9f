"""The rows of label files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paa.data.read_report import ReadReport
from paa.errors import AnnotationError
from tests.data.formats.yolo.yolo_files import BOX, ROW, boxes_of_first, fails, names, read_yolo, write_pair


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
    write_pair(tmp_path, text=f"{row}\n", more=f"kpt_shape: {shape}")
    np.testing.assert_allclose(boxes_of_first(tmp_path), [BOX])


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
    write_pair(tmp_path, text=f"\n{row}\n", more=f"kpt_shape: {shape}")
    assert f"{Path('labels/a.txt')} line 2 {says}" in fails(tmp_path, AnnotationError)
    assert boxes_of_first(tmp_path, ReadReport(skip_bad=True)) == []


@pytest.mark.parametrize("shape", ["17", "[17]", "[17, x]", "{a: 1}", "[17, 3, 1]"])
def test_a_wrong_shape_of_keypoints(tmp_path: Path, shape: str) -> None:
    write_pair(tmp_path, more=f"kpt_shape: {shape}")
    assert "'kpt_shape' must be [keypoints, 2 or 3], not" in fails(tmp_path)


def test_keypoints_without_their_shape(tmp_path: Path) -> None:
    write_pair(tmp_path, text="0 0.5 0.5 0.4 0.4 0.1 0.2 0.9 0.8\n", more="flip_idx: [1, 0]")
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
    write_pair(tmp_path, text=f"{ROW}{row}\n")
    message = fails(tmp_path, AnnotationError)
    assert f"{Path('labels/a.txt')} line 2 has " in message
    report = ReadReport(skip_bad=True)
    np.testing.assert_allclose(boxes_of_first(tmp_path, report), [BOX])
    assert len(report.left_out) == 1


@pytest.mark.parametrize(
    "row", ["0 0.5 0.5 0.25 0.5", "0.0 0.5 0.5 0.25 0.5 ", "0\t0.5\t0.5\t0.25\t5e-1", " 0  .5 .5 .25 .5"]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r", ""])
def test_forms_of_a_row(tmp_path: Path, row: str, encoding: str, ending: str) -> None:
    write_pair(tmp_path)
    (tmp_path / "labels" / "a.txt").write_bytes(f"{row}{ending}".encode(encoding))
    np.testing.assert_allclose(boxes_of_first(tmp_path), [BOX])


@pytest.mark.parametrize("content", [b"\xff\xfe0", b"0 0.5 \xb5", b"0 0.5 0.5 0.2 0.2\n" + bytes(9), bytes(8)])
def test_a_label_file_that_is_no_text(tmp_path: Path, content: bytes) -> None:
    write_pair(tmp_path)
    (tmp_path / "labels" / "a.txt").write_bytes(content)
    message = fails(tmp_path, AnnotationError)
    assert message.startswith(f"{tmp_path / 'labels' / 'a.txt'}: ")
    assert message.endswith("--skip-bad")
    report = ReadReport(skip_bad=True)
    assert names(read_yolo(tmp_path, "train", report)) == ["images/b.png"]  # not an image without objects
    assert len(report.left_out) == 1


def test_rows_that_are_repeated(tmp_path: Path) -> None:
    write_pair(tmp_path, text=ROW * 3)
    report = ReadReport()
    assert len(boxes_of_first(tmp_path, report)) == 3
    assert "2 boxes are in the file more than once, for example " in report.warnings[-2]
    write_pair(tmp_path, text=f"{ROW}1{ROW[1:]}")  # of two classes
    report = ReadReport()
    boxes_of_first(tmp_path, report)
    assert report.warnings == []


def test_fractions_a_little_over_one(tmp_path: Path) -> None:
    write_pair(tmp_path, text="0 0.75 0.5 0.502 1.001\n")
    report = ReadReport()
    assert boxes_of_first(tmp_path, report)[0][2:] == [80, 60]
    assert not any("leave their image" in warning for warning in report.warnings)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_image(tmp_path: Path, content: bytes) -> None:
    write_pair(tmp_path)
    (tmp_path / "images" / "b.png").write_bytes(content)
    report = ReadReport(skip_bad=True)
    assert names(read_yolo(tmp_path, "train", report)) == ["images/a.png"]
    assert len(report.left_out) == 1
    assert "b.png" in report.left_out[0]


@pytest.mark.parametrize(
    ("rows", "warns"),
    [
        ("0 .5 .5 .4 .4 .4 .4 .6 .6\n0 .3 .3 .2 .2 .25 .25 .35 .35\n", True),  # 2 keypoints of 2 numbers
        ("0 .5 .5 .4 .4 .4 .4 1 .6 .6 1\n0 .3 .3 .2 .2 .25 .25 1 .35 .35 0\n", True),  # of 3
        ("0 .5 .5 .4 .4 .4 .4 .6 .6\n", False),  # one alone
        ("0 .5 .5 .4 .4 .4 .4 .6 .6\n" * 2 + "0 .2 .2 .3 .2 .3 .3\n", False),  # some are polygons
        ("0 .1 .1 .9 .1 .9 .9 .1 .9\n0 .4 .4 .6 .4 .6 .6 .4 .6\n", False),  # corners
        ("0 .5 .5 .4 .4\n0 .3 .3 .2 .2\n", False),
    ],
)
def test_a_warning_of_keypoints_without_their_shape(tmp_path: Path, rows: str, warns: bool) -> None:
    report = ReadReport()
    read_yolo(write_pair(tmp_path, text=rows), "train", report)
    assert any("polygons look like boxes with keypoints" in warning for warning in report.warnings) == warns


def test_outlines_are_not_taken_for_keypoints(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    lines = []
    for _ in range(200):
        angles = np.sort(random.uniform(0, 2 * np.pi, random.integers(4, 30)))
        (x, y), radius = random.uniform(0.3, 0.7, 2), random.uniform(0.05, 0.3)
        points = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1).ravel()
        lines.append(" ".join(["0", *(f"{value:.4f}" for value in points)]))
    report = ReadReport()
    read_yolo(write_pair(tmp_path, text="\n".join(lines)), "train", report)
    assert not any("keypoints" in warning for warning in report.warnings)
