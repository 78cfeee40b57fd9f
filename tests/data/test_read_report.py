from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paa.data.read_report import ReadReport, first_few, left_out_lines, printable
from paa.errors import AnnotationError, DataError, ImageError
from tests.data.data_files import make_index


def test_an_item_that_cannot_be_used_is_an_error() -> None:
    report = ReadReport()
    with pytest.raises(AnnotationError, match=r"^a\.json: annotation 1 is wrong; fix it, .*: --skip-bad$"):
        report.leave_out("a.json: annotation 1 is wrong")
    for kind in (ImageError, DataError):
        with pytest.raises(kind):
            report.leave_out("a.png: is broken", kind)
    assert report == ReadReport()


def test_an_item_that_cannot_be_used_is_left_out_with_skip_bad() -> None:
    report = ReadReport(skip_bad=True)
    report.leave_out("a.json: annotation 1 is wrong")
    report.leave_out("a\n.png: is broken", ImageError)
    assert report.left_out == ["a.json: annotation 1 is wrong", "a\\n.png: is broken"]
    assert report.images_left_out == 1


def test_the_description_of_a_split(tmp_path: Path) -> None:
    report = ReadReport(format="COCO", annotations="a.json", images="images")
    index = make_index(tmp_path, [(20, 30)] * 3)
    assert report.lines("train", index) == [
        "train: COCO, annotations a.json, images in images",
        "train: 3 images, 6 boxes, 3 classes: a, b, c",
    ]
    index.crowd[:2] = True
    report.unlabelled, report.split = 1, "val"  # as the annotation file's name says
    report.warn("looks wrong")  # is logged, and not among the lines
    assert report.lines("train", index.select(np.array([0])))[1] == (
        "val: 1 image (1 without a label file), 2 boxes (2 of crowds or difficult), 3 classes: a, b, c"
    )


def test_many_classes_and_images_without_objects(tmp_path: Path) -> None:
    index = make_index(tmp_path, [(20, 30)], boxes_each=0)
    object.__setattr__(index, "names", tuple("abcdefghij"))
    (line,) = ReadReport().lines("test", index)[1:]
    assert line == "test: 1 image (1 without objects), 0 boxes, 10 classes: a, b, c, d, e, f, g, h and 2 more"


def test_what_was_left_out_is_counted_and_the_first_ten_are_named() -> None:
    assert left_out_lines([], "train") == []
    assert left_out_lines(["a", "b"], "train") == ["train: left out 2:", "  a", "  b"]
    lines = left_out_lines([str(i) for i in range(12)], "train")
    assert lines[0] == "train: left out 12; the first 10:"
    assert lines[-1] == "  9"
    assert len(lines) == 11


def test_characters_that_cannot_be_printed() -> None:
    assert printable("ä b") == "ä b"
    assert printable("a\nb\t\udcff\x1b[31m") == "a\\nb\\t\\udcff\\x1b[31m"


def test_the_first_few_items() -> None:
    assert first_few(["a", Path("b")]) == "a, b"
    assert first_few(range(7)) == "0, 1, 2, 3, 4 and 2 more"


def test_a_detailed_report_has_each_thing_that_a_remark_counts() -> None:
    for detailed, expected in ((False, ["2 are odd", "alone"]), (True, ["a is odd", "b\\n is odd", "alone"])):
        report = ReadReport(detailed=detailed)
        report.warn("2 are odd", lambda: (f"{name} is odd" for name in ("a", "b\n")))
        report.warn("alone")
        assert report.warnings == expected
