from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paa.data.formats.coco import columns as coco_columns
from paa.data.formats.coco import read as coco_read
from paa.data.formats.coco.columns import read_columns
from paa.data.formats.coco.fields import read_fields
from paa.data.read_report import ReadReport
from tests.data.data_files import box, coco_json
from tests.data.formats.coco.coco_files import assert_same, read_coco

CUTS = {
    "segmentation": [[1, 2, 3, 4], [5, 6, 7, 8]],
    "note": '}, {"id": 1, "bbox": ["',
    "parts": [{"id": 1, "image_id": 1}, {"id": 2, "image_id": 2}, {"x": [{"id": 3}, {"id": 4}]}],
}


def annotations(seed: int, count: int) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    made = []
    for i in range(count):
        xywh = [*random.integers(0, 40, 2).tolist(), *random.uniform(1, 30, 2).tolist()]
        some = {key: value for key, value in CUTS.items() if random.random() < 0.5}
        more = {"iscrowd": int(random.integers(2)), "area": None if i % 3 else 7.5} if i % 2 else {}
        made.append(box(i, int(random.integers(1, 9)), xywh, int(random.choice([3, 7])), **some, **more))
    return made


@pytest.mark.parametrize("piece", [1, 100, 1000, 1 << 25])
@pytest.mark.parametrize("layout", [{}, {"indent": 1}, {"separators": (",", ":")}])
@pytest.mark.parametrize("first", ["id", "bbox", "image_id"])
def test_the_same_as_field_by_field_wherever_the_text_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int, layout: dict[str, Any], first: str
) -> None:
    monkeypatch.setattr(coco_columns, "_PIECE", piece)
    path = coco_json(tmp_path / "train.json", count=8)
    data = json.loads(path.read_text())
    data["annotations"] = [{first: a[first], **a} for a in annotations(0, 40)]
    path.write_text(json.dumps(data, **layout))
    content = read_columns(path)
    assert content is not None
    assert content.annotations["id"].tolist() == list(range(40))
    index = read_coco(path, "train")
    monkeypatch.setattr(coco_read, "read_columns", lambda file: None)
    assert_same(index, read_coco(path, "train"))


def test_pieces_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco_columns, "_PIECE", 1)
    text = json.dumps(annotations(1, 20)).encode()
    assert [len(piece) for piece in coco_columns._pieces(memoryview(text), coco_columns._Annotation)] == [1] * 20


def test_annotations_in_any_order_of_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco_columns, "_PIECE", 1)
    mixed = [dict(sorted(a.items(), reverse=i % 2 == 0)) for i, a in enumerate(annotations(2, 20))]
    content = read_columns(coco_json(tmp_path / "train.json", mixed, count=8))
    assert content is not None
    assert content.annotations["id"].tolist() == list(range(20))


@pytest.mark.parametrize("annotation", [[], None, [box(1, 1, (0, 0, 5, 5))]])
def test_few_annotations(tmp_path: Path, annotation: Any) -> None:
    path = coco_json(tmp_path / "train.json", annotations=annotation or [])
    content = read_columns(path)
    assert content is not None
    assert content.annotations["bbox"].shape == (len(annotation or []), 4)
    assert len(read_coco(path, "train").boxes) == len(annotation or [])


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "a"},
        {"image_id": 1.0},
        {"image_id": True},
        {"image_id": 1 << 70},
        {"bbox": [1, 2, 3]},
        {"bbox": [1, 2, float("nan"), 3]},
        {"bbox": [1, 2, 10**400, 3]},
        {"area": "7"},
        {"category_id": None},
    ],
    ids=str,
)
def test_files_that_are_not_usual(tmp_path: Path, wrong: dict[str, Any]) -> None:
    path = coco_json(tmp_path / "train.json", [box(1, 1, (0, 0, 5, 5)), {**box(2, 1, (0, 0, 5, 5)), **wrong}])
    assert read_columns(path) is None


def test_no_such_file(tmp_path: Path) -> None:
    assert read_columns(tmp_path / "gone.json") is None


ODD: dict[str, list[Any]] = {
    "id": ["7", 7.0, None, 1 << 63, -1, True],
    "image_id": ["1", 1.0, 1.5, "x", None, 1 << 63, (1 << 63) - 1, -(1 << 63), False, 9],
    "category_id": ["3", 3.0, " 7 ", 1e300, None, 4],
    "bbox": [["1", 2, 3, 4], [1, 2, 3], [], None, [1, 2, None, 4], [1.5, 2.5, -3, 4], [1, 2, float("nan"), 4], {}],
    "area": ["", "7.5", -1, -0.0, None, True, float("inf"), 1e308, 10**400, [1]],
    "iscrowd": [True, "1", "no", 2, -1, None, 1.0, 0],
    "segmentation": [[[1, 2, 3, 4]], {"size": [60, 80], "counts": [100, 50, 4650]}, "x", None],
    "file_name": ["", 7, None, "a\ud800.png", "ü\\x.png"],
    "height": ["60", 60.0, 60.5, 0, -1, 1 << 31, (1 << 31) - 1, None, True],
    "width": ["80", 0, None, 1 << 40],
}


@pytest.mark.parametrize("seed", range(300))
def test_the_same_as_field_by_field_or_nothing(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    made = annotations(seed, 12)
    images = [{"id": i, "file_name": f"{i}.png", "height": 60, "width": 80} for i in range(1, 9)]
    for record in [*made, *images]:
        for key, values in ODD.items():
            if random.random() < 0.01 * (seed % 4) and (key in record or key in ("area", "iscrowd", "segmentation")):
                record[key] = values[random.integers(len(values))]
                if random.random() < 0.2:
                    del record[key]
    path = tmp_path / "train.json"
    path.write_text(json.dumps({"images": images, "annotations": made, "categories": [{"id": 3, "name": "cat"}]}))
    fast, report = read_columns(path), ReadReport(skip_bad=True)
    careful = read_fields(path, report)
    assert fast is not None or seed % 4  # a file without odd values is read
    if fast is None:
        return
    assert report.left_out == report.warnings == []
    assert fast.file_names == careful.file_names
    assert fast.categories == careful.categories
    for name in ("image_ids", "sizes"):
        np.testing.assert_array_equal(getattr(fast, name), getattr(careful, name))
        assert getattr(fast, name).dtype == getattr(careful, name).dtype
    for name, column in fast.annotations.items():
        np.testing.assert_array_equal(column.tolist(), careful.annotations[name].tolist())
        assert name == "id" or column.dtype == careful.annotations[name].dtype
