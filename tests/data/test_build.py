"""The last step of every reader: boxes that are checked, clipped, and sorted by image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paa.data.build import RawSplit, build_index
from paa.data.classes import Classes
from paa.data.read_report import ReadReport
from paa.errors import AnnotationError, DataError, ImageError
from tests.data.data_files import write_image


def found(folder: Path, boxes: list[tuple[int, list[float]]], **changes: Any) -> RawSplit:
    """Write two images 80 wide and 60 high, and return them with boxes, each after the position of its image."""
    for name in ("a.png", "b.png"):
        write_image(folder / name)
    fields = {
        "source": Path("notes"),
        "root": folder,
        "classes": Classes(("cat", "dog"), np.array([1, 2]), np.arange(2)),
        "file_names": ["a.png", "b.png"],
        "image_ids": np.array([5, 6]),
        "sizes": np.zeros((2, 2), np.int32),
        "images": np.array([image for image, _ in boxes], np.int64),
        "boxes": np.array([box for _, box in boxes], np.float64).reshape(-1, 4),
        "labels": np.arange(len(boxes)) % 2,
        "crowd": np.zeros(len(boxes), np.bool_),
        "areas": np.full(len(boxes), np.nan),
        "describe": lambda row: f"box {row}",
    }
    return RawSplit(**{**fields, **changes})


GOOD: list[tuple[int, list[float]]] = [(1, [0, 0, 10, 10]), (0, [5, 5, 25, 15]), (1, [20, 20, 30, 40])]


def test_boxes_are_sorted_by_image(tmp_path: Path) -> None:
    index = build_index(found(tmp_path, GOOD), True, ReadReport())
    assert index.offsets.tolist() == [0, 1, 3]
    assert index.boxes.tolist() == [GOOD[i][1] for i in (1, 0, 2)]
    assert index.labels.tolist() == [1, 0, 0]
    assert index.areas.tolist() == [200, 100, 200]
    assert index.sizes.tolist() == [[60, 80]] * 2  # the image files' own, as none are given
    assert index.path(1) == tmp_path / "b.png"


def test_fractions_of_the_image(tmp_path: Path) -> None:
    index = build_index(found(tmp_path, [(0, [0.25, 0.5, 0.5, 1])], normalised=True), True, ReadReport())
    assert index.boxes.tolist() == [[20, 30, 40, 60]]


def test_a_side_of_one_pixel_that_a_format_rounded(tmp_path: Path) -> None:
    report = ReadReport()
    build_index(found(tmp_path, [(0, [5.0, 5, 5.995, 10]), *GOOD]), True, report)
    assert report.warnings == []
    build_index(found(tmp_path, [(0, [5.0, 5, 5.98, 10]), *GOOD]), True, report)
    assert "1 of 4 boxes have a side below one pixel" in report.warnings[0]


def test_boxes_are_clipped_and_those_without_area_dropped(tmp_path: Path) -> None:
    boxes = [(0, [-10.0, 5, 5, 100]), (0, [80.0, 5, 90, 10]), (1, [5.0, 5, 5, 10]), *GOOD]
    report = ReadReport()
    index = build_index(found(tmp_path, boxes), True, report)
    assert index.boxes[0].tolist() == [0, 5, 5, 60]
    assert len(index.boxes) == 4
    assert report.warnings == [
        "notes: dropped 2 boxes that have no area inside their image",
        "notes: 2 of 6 boxes leave their image by more than a pixel and are cut there; "
        "are they corners, and not x, y, width and height?",
        "notes: 1 of 6 boxes have a side below one pixel; are they fractions of the image's size, and not pixels?",
    ]


@pytest.mark.parametrize(
    ("box", "says"),
    [
        ([5.0, 5, 4, 10], "box 1 has width -1"),
        ([5.0, float("nan"), 4, 10], "box 1 has y nan"),
        ([5.0, 5, float("inf"), 10], "box 1 has width inf"),
    ],
)
def test_boxes_that_cannot_be_used(tmp_path: Path, box: list[float], says: str) -> None:
    boxes = [GOOD[0], (0, box), GOOD[2]]
    with pytest.raises(AnnotationError, match=f"notes: {says}; fix it"):
        build_index(found(tmp_path, boxes), True, ReadReport())
    report = ReadReport(skip_bad=True)
    assert build_index(found(tmp_path, boxes), True, report).offsets.tolist() == [0, 0, 2]
    assert report.left_out == [f"notes: {says}"]


def test_boxes_that_are_repeated(tmp_path: Path) -> None:
    boxes = [
        GOOD[0],
        GOOD[1],
        GOOD[0],
        (0, GOOD[0][1]),
        (1, [-0.0, 0, 10, 10]),
    ]  # the last two: in another image; with -0 for 0
    report = ReadReport()
    labels = np.array([0, 1, 0, 0, 0])
    assert len(build_index(found(tmp_path, boxes, labels=labels), True, report).boxes) == 5
    assert report.warnings == ["notes: 2 boxes are in the file more than once, for example box 2"]


def test_images_of_another_size_or_without_a_file(tmp_path: Path) -> None:
    sizes = np.array([[60, 80], [80, 60]], np.int32)
    with pytest.raises(ImageError, match=r"b\.png: is 60 high and 80 wide as shown, its annotations say 80 high"):
        build_index(found(tmp_path, GOOD, sizes=sizes), True, ReadReport())
    report = ReadReport(skip_bad=True)
    index = build_index(found(tmp_path, GOOD, sizes=sizes), True, report)
    assert index.image_ids.tolist() == [5]
    assert index.offsets.tolist() == [0, 1]
    assert report.images_left_out == 1
    gone = found(tmp_path, GOOD, file_names=["gone.png", "a.png"])
    assert build_index(gone, True, ReadReport(skip_bad=True)).image_ids.tolist() == [6]


def test_images_without_a_box_to_train_on(tmp_path: Path) -> None:
    crowd = np.array([True, False, True])
    index = build_index(found(tmp_path, GOOD, crowd=crowd), False, ReadReport())
    assert index.image_ids.tolist() == [5]
    with pytest.raises(DataError, match="notes: no images with objects"):
        build_index(found(tmp_path, []), False, ReadReport())


def test_classes_that_are_left_out_and_those_without_objects(tmp_path: Path) -> None:
    classes = Classes(("dog", "cow"), np.array([2, 3]), np.array([-1, 0]))  # the files' cat is not wanted
    report = ReadReport()
    index = build_index(found(tmp_path, GOOD, classes=classes), True, report)
    assert index.labels.tolist() == [0]
    assert index.boxes.tolist() == [GOOD[1][1]]
    assert report.warnings == ["notes: no object of class cow"]


def test_areas_that_the_files_give(tmp_path: Path) -> None:
    index = build_index(found(tmp_path, GOOD, areas=np.array([70, 1e300, -1])), True, ReadReport())
    assert index.areas.tolist() == [200, 70, 200]  # the box's own, where the value cannot be an area


def test_a_detailed_report_names_each_box(tmp_path: Path) -> None:
    boxes = [
        *((0, [-10.0, 5, 5, 100]), (0, [80.0, 5, 90, 10]), (1, [5.0, 5, 5, 10]), (1, [5.0, 5, 5.5, 10])),
        *(*GOOD, GOOD[0]),
    ]
    counted, detailed = ReadReport(), ReadReport(detailed=True)
    raw = found(tmp_path, boxes, labels=np.array([0, 1, 0, 0, 1, 1, 1, 1]))
    assert build_index(raw, True, counted).boxes.tolist() == build_index(raw, True, detailed).boxes.tolist()
    assert len(counted.warnings) == 4
    size = "80 wide and 60 high"
    corners, fractions = "are they corners, and not x, y, width and height?", "are they fractions of the image's size"
    assert detailed.warnings == [
        "notes: box 1 has no area inside its image: (80, 5, 90, 10) in a.png, 80 wide and 60 high",
        "notes: box 2 has no area inside its image: (5, 5, 5, 10) in b.png, 80 wide and 60 high",
        f"notes: box 0 leaves its image by more than a pixel; {corners}: (-10, 5, 5, 100) in a.png, {size}",
        f"notes: box 3 has a side below one pixel; {fractions}, and not pixels?: (5, 5, 5.5, 10) in b.png, {size}",
        "notes: box 7 repeats the box and class of another",
    ]
