from __future__ import annotations

import contextlib
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paa.data.index import DatasetIndex
from paa.data.read_report import ReadReport
from paa.errors import AnnotationError, DataError
from paa.evaluation.coco_results import coco_results, write_results
from paa.evaluation.metrics import SUMMARY_NAMES, evaluate
from paa.evaluation.results_file import is_results_file, read_results
from paa.inference.table import DetectionTable
from tests.evaluation.coco_sets import make_index, random_set

NAMES = ("seq/a.jpg", "seq/b.1.png", "other/a.jpg", "猫.jpg")
GOOD: dict[str, Any] = {"image_id": 7, "category_id": 3, "bbox": [1, 2, 10.5, 20], "score": 0.5}


@pytest.fixture
def index() -> DatasetIndex:
    """Return four images (ids 7, 8, 9, 10) and two classes (ids 3 and 1) without objects."""
    made = make_index([], images=4, classes=2, image_ids=[7, 8, 9, 10], category_ids=[3, 1])
    return replace(made, file_names=np.array([name.encode() for name in NAMES]))


def read(folder: Path, index: DatasetIndex, content: Any, skip_bad: bool = False) -> tuple[DetectionTable, list[str]]:
    path = folder / "results.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    report = ReadReport(skip_bad)
    return read_results(path, index, report), report.left_out


def test_a_round_trip_changes_nothing(tmp_path: Path) -> None:
    index, table = random_set(0)
    write_results(tmp_path / "results.json", index, table)
    again = read_results(tmp_path / "results.json", index, ReadReport())
    for name, column in vars(table).items():
        np.testing.assert_allclose(getattr(again, name), column, rtol=0, atol=1e-4 if name == "boxes" else 0)
        assert getattr(again, name).dtype == column.dtype


def test_the_numbers_are_those_of_pycocotools_on_the_same_file(tmp_path: Path) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    from paa.data.formats.coco.write import write_coco

    index, table = random_set(1)
    write_coco(index, tmp_path / "truth.json")
    write_results(tmp_path / "results.json", index, table)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "truth.json"))
        judge = COCOeval(truth, truth.loadRes(str(tmp_path / "results.json")), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    found = evaluate(index, read_results(tmp_path / "results.json", index, ReadReport())).metrics
    for name, value in zip(SUMMARY_NAMES, judge.stats, strict=True):
        assert found[name] == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize(
    ("image", "position"),
    [
        (7, 0),
        ("7", 0),
        ("seq/a.jpg", 0),
        ("other/a.jpg", 2),
        ("b.1.png", 1),
        ("b.1", 1),
        ("C:\\somewhere\\b.1.png", 1),
        ("猫.jpg", 3),
        ("猫", 3),
    ],
)
def test_images_by_id_and_by_name(tmp_path: Path, index: DatasetIndex, image: int | str, position: int) -> None:
    table, _ = read(tmp_path, index, [{**GOOD, "image_id": image}])
    assert table.image.tolist() == [position]
    np.testing.assert_array_equal(table.boxes, np.array([[1, 2, 11.5, 22]], np.float32))


def test_a_numeric_name_comes_before_an_id(tmp_path: Path, index: DatasetIndex) -> None:
    named = replace(index, file_names=np.array([b"10.jpg", b"9.jpg", b"8.jpg", b"7.jpg"]))
    assert read(tmp_path, named, [{**GOOD, "image_id": "10"}])[0].image.tolist() == [0]
    assert read(tmp_path, named, [{**GOOD, "image_id": 10}])[0].image.tolist() == [3]


@pytest.mark.parametrize(("category", "label"), [(3, 0), (1, 1), ("class 1", 1), ("1", 1)])
def test_classes_by_id_and_by_name(tmp_path: Path, index: DatasetIndex, category: int | str, label: int) -> None:
    assert read(tmp_path, index, [{**GOOD, "category_id": category}])[0].labels.tolist() == [label]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"image_id": 6}, "image_id 6 is no image of this split, whose ids are 7 (seq/a.jpg) and 3 more"),
        ({"image_id": "c.jpg"}, 'image_id "c.jpg" is no image of this split'),
        ({"image_id": "a.jpg"}, 'image_id "a.jpg" fits several images; give the name with its folder, or the id'),
        ({"image_id": 1.5}, "image_id is 1.5, expected an id or a file name"),
        ({"image_id": 2**70}, "image_id"),
        ({"category_id": 2}, "category_id 2 is no class of the data set, which has 3 (class 0), 1 (class 1)"),
        ({"category_id": True}, "category_id is true, expected an id or a class name"),
        ({"bbox": [1, 2, 3]}, "bbox is [1, 2, 3], expected x, y, width, height"),
        ({"bbox": [1, 2, 3, "4"]}, 'bbox is [1, 2, 3, "4"], expected x, y, width, height'),
        ({"bbox": [1, 2, -3, 4]}, "bbox is [1.0, 2.0, -3.0, 4.0], with a negative side"),
        ({"bbox": [1, 2, float("nan"), 4]}, "bbox is [1.0, 2.0, NaN, 4.0], expected finite numbers"),
        ({"bbox": [1, 2, 3, 1e39]}, "bbox is [1.0, 2.0, 3.0, 1e+39]"),
        ({"score": float("nan")}, "score is NaN, expected finite numbers"),
        ({"score": float("inf")}, "score is Infinity, expected finite numbers"),
        ({"score": "0.5"}, 'score is "0.5", expected a number'),
        ({"score": None}, "score is null, expected a number"),
        ({"bbox": None, "segmentation": []}, "bbox is null, expected x, y, width, height"),
    ],
)
def test_what_cannot_be_used_is_named_or_left_out(
    tmp_path: Path, index: DatasetIndex, change: dict[str, Any], says: str
) -> None:
    content = [GOOD, {**GOOD, **change}, GOOD]
    with pytest.raises(AnnotationError, match=re.escape(f"results.json: result 2: {says}")) as caught:
        read(tmp_path, index, content)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("; fix it, or go on without it: --skip-bad")
    table, left_out = read(tmp_path, index, content, skip_bad=True)
    assert len(table) == 2
    (line,) = left_out
    assert says in line


@pytest.mark.parametrize("field", GOOD)
def test_a_missing_field_is_named(tmp_path: Path, index: DatasetIndex, field: str) -> None:
    entry = {name: value for name, value in GOOD.items() if name != field}
    with pytest.raises(AnnotationError, match=f"result 1: has no {field}"):
        read(tmp_path, index, [entry])
    if field == "bbox":
        with pytest.raises(AnnotationError, match="has no bbox, only a segmentation"):
            read(tmp_path, index, [{**entry, "segmentation": {}}])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "not a JSON file"),
        ("[{", "not a JSON file"),
        ("{}", "not a list; expected COCO's result format, a list of {image_id, category_id, bbox, score}"),
        ({"images": [], "annotations": []}, "describes a data set, which is for --data"),
    ],
)
def test_files_that_are_no_results(tmp_path: Path, index: DatasetIndex, content: Any, says: str) -> None:
    with pytest.raises(DataError, match=re.escape(says)):
        read(tmp_path, index, content)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bbox": "\ud800"}, r'bbox is "\ud800", expected x, y, width, height'),
        ({"image_id": "\ud800"}, r'image_id "\ud800" is no image of this split'),
        ({"\ud800": 1, "score": float("nan")}, "score is NaN, expected finite numbers"),
    ],
)
def test_half_a_surrogate_pair(tmp_path: Path, index: DatasetIndex, change: dict[str, Any], says: str) -> None:
    """Found by fuzzing: JSON can hold it, and no encoding of text can."""
    with pytest.raises(AnnotationError) as caught:
        read(tmp_path, index, [{**GOOD, **change}, {**GOOD, "score": float("nan")}])
    assert f"result 1: {says}" in str(caught.value)


def test_bytes_that_are_no_text(tmp_path: Path, index: DatasetIndex) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(b'[{"image_id": "b.pn\xb7g", "category_id": 3, "bbox": [1, 2, 3, 4], "score": 1}]')
    with pytest.raises(DataError, match="not a JSON file"):
        read_results(path, index, ReadReport())


def test_an_entry_that_is_no_object(tmp_path: Path, index: DatasetIndex) -> None:
    with pytest.raises(AnnotationError, match=re.escape("result 2: [1] is not an object with image_id")):
        read(tmp_path, index, [GOOD, [1]])


def test_a_missing_file(tmp_path: Path, index: DatasetIndex) -> None:
    with pytest.raises(DataError, match="no such file of results"):
        read_results(tmp_path / "none.json", index, ReadReport())


def test_no_results(tmp_path: Path, index: DatasetIndex) -> None:
    assert len(read(tmp_path, index, [])[0]) == 0


def test_extra_fields_and_a_byte_order_mark_do_not_matter(tmp_path: Path, index: DatasetIndex) -> None:
    assert len(read(tmp_path, index, "\ufeff" + json.dumps([{**GOOD, "id": 4, "segmentation": []}]))[0]) == 1


def test_files_of_results_are_recognised(tmp_path: Path, checkpoint: Path) -> None:
    for name, content, expected in (
        ("a.json", b"{}", True),
        ("a.JSON", b"", True),
        ("results", b"\n [{}]", True),
        ("results.txt", b"\xef\xbb\xbf[]", True),
        ("model.pt", b"PK\x03\x04", False),
        ("model.safetensors", b"\x10\0\0\0\0\0\0\0{}", False),
    ):
        (tmp_path / name).write_bytes(content)
        assert is_results_file(tmp_path / name) is expected, name
    assert not is_results_file(checkpoint)
    assert not is_results_file(Path("mmdet/r50_1x"))
    assert is_results_file(tmp_path / "not there.json")


def test_results_know_their_images_when_others_come_or_go(tmp_path: Path) -> None:
    """Files of labels name no ids: an image's is its place among them."""
    index, table = random_set(3)
    places = replace(index, image_ids=np.arange(1, len(index) + 1), ids_are_places=True)
    write_results(tmp_path / "results.json", places, table)
    fewer = places.select(np.arange(1, len(index)))
    fewer = replace(fewer, image_ids=np.arange(1, len(fewer) + 1))
    report = ReadReport(skip_bad=True)
    again = read_results(tmp_path / "results.json", fewer, report)
    assert again.image.tolist() == (table.image[table.image > 0] - 1).tolist()
    assert len(report.left_out) == (table.image == 0).sum() > 0
    assert "is no image of this split" in report.left_out[0]
    assert [result["image_id"] for result in coco_results(index, table)] == index.image_ids[table.image].tolist()
    part = coco_results(places.select(np.arange(3, len(index))), table.select(table.image == 5))
    assert {result["image_id"] for result in part} == {"8.jpg"}
