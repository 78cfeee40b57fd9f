from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import sys
import weakref
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from paa import Detections
from paa.errors import ConfigError, ImageError


@pytest.fixture
def detections() -> Detections:
    return Detections(
        np.array([[0.1234567, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11.5]], np.float32),
        np.array([0.9, 0.5, 0.25], np.float32),
        np.array([1, 0, 1]),
        ("cat", "dog"),
    )


def test_iterates_over_box_score_and_name(detections: Detections) -> None:
    assert len(detections) == 3
    assert [name for _, _, name in detections] == ["dog", "cat", "dog"]
    box, score, _ = next(iter(detections))
    assert box.tolist() == detections.boxes[0].tolist()
    assert type(score) is float
    assert score == pytest.approx(0.9)


@pytest.mark.parametrize(("threshold", "count"), [(0.0, 3), (0.25, 3), (0.3, 2), (0.5, 2), (0.95, 0)])
def test_above(detections: Detections, threshold: float, count: int) -> None:
    best = detections.above(threshold)
    assert len(best) == len(best.boxes) == len(best.labels) == count
    assert best.boxes.tolist() == detections.boxes[:count].tolist()
    assert best.labels.tolist() == detections.labels[:count].tolist()
    assert best.names == detections.names
    assert len(detections) == 3


def test_plain_values(detections: Detections) -> None:
    dicts = detections.to_dicts()
    assert json.loads(json.dumps(dicts)) == dicts
    assert dicts[0] == {"box": [0.123, 1.0, 2.0, 3.0], "score": pytest.approx(0.9), "label": 1, "name": "dog"}
    assert [d["name"] for d in dicts] == ["dog", "cat", "dog"]


def test_none() -> None:
    empty = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), ("cat",))
    assert len(empty) == 0
    assert list(empty) == []
    assert empty.to_dicts() == []
    assert len(empty.above(0.5)) == 0


def test_cannot_be_changed(detections: Detections) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        detections.names = ()  # type: ignore[misc]


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        (0, [0]),
        (-1, [2]),
        (np.int64(1), [1]),
        (torch.tensor(1), [1]),
        (slice(1, None), [1, 2]),
        (slice(None, None, -1), [2, 1, 0]),
        (slice(5, 9), []),
        (np.array([True, False, True]), [0, 2]),
        ([False, True, False], [1]),
        (torch.tensor([True, False, True]), [0, 2]),
        (np.array([2, 0, 0]), [2, 0, 0]),
        ([1, -3], [1, 0]),
        ([], []),
        (np.zeros(0, np.int64), []),
    ],
    ids=str,
)
def test_selects(detections: Detections, index: Any, rows: list[int]) -> None:
    chosen = detections[index]
    assert isinstance(chosen, Detections)
    assert chosen.boxes.shape == (len(rows), 4)
    assert chosen.boxes.tolist() == [detections.boxes[row].tolist() for row in rows]
    assert chosen.scores.tolist() == [detections.scores[row].item() for row in rows]
    assert chosen.labels.tolist() == [detections.labels[row].item() for row in rows]
    assert chosen.names == detections.names
    assert chosen.scores.dtype == np.float32


@pytest.mark.parametrize(
    "index", [3, -4, [3], [True, False], np.ones((3, 3), bool), 0.5, "dog", None, (0, 1, 5), np.zeros(0)], ids=repr
)
def test_what_selects_nothing(detections: Detections, index: Any) -> None:
    with pytest.raises(IndexError):
        detections[index]


def test_equal_by_value(detections: Detections) -> None:
    same = dataclasses.replace(detections, boxes=detections.boxes.copy())
    assert detections == same
    assert (detections != same) is False
    assert [detections] == [same]
    for other in (
        dataclasses.replace(detections, scores=detections.scores / 2),
        dataclasses.replace(detections, names=("cat", "wolf")),
        detections[:2],
        detections[::-1],
        detections[[]],
        None,
        "Detections",
        3,
    ):
        assert detections != other
        assert (detections == other) is False
    assert detections[[]] == detections.above(0.99)


def test_cannot_be_hashed(detections: Detections) -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(detections)


def test_says_what_it_holds(detections: Detections) -> None:
    assert repr(detections) == "Detections(3: 2 dog, 1 cat; scores 0.90 to 0.25)"
    assert repr(detections[[]]) == "Detections(0)"
    many = Detections(np.zeros((9, 4), np.float32), np.ones(9, np.float32), np.arange(9), tuple("abcdefghi"))
    assert repr(many).endswith("1 h, and 1 classes more; scores 1.00 to 1.00)")


def drawable(detections: Detections, source: Any) -> Detections:
    return dataclasses.replace(detections, source=source)


def same_pixels(one: Image.Image, other: Image.Image) -> bool:
    return np.array_equal(np.asarray(one), np.asarray(other))


def test_plot(tmp_path: Path, detections: Detections) -> None:
    """A file, an array, a PIL image and a tensor give one drawing, which has the boxes; the image stays as it was."""
    array = np.full((60, 80, 3), 200, np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(array).save(path)
    large = dataclasses.replace(detections, boxes=detections.boxes * 5)
    drawn = large.plot(array)
    assert drawn.size == (80, 60)
    assert (np.asarray(drawn) != 200).any()
    assert (array == 200).all()
    for image in (str(path), path, Image.fromarray(array), torch.from_numpy(array).permute(2, 0, 1)):
        assert same_pixels(large.plot(image), drawn)
    assert same_pixels(drawable(large, path).plot(), drawn)
    assert same_pixels(drawable(large, path)[:2].plot(), large[:2].plot(array))
    assert not same_pixels(large[:2].plot(array), drawn)


def test_an_image_in_memory_is_drawn_on_and_not_kept(detections: Detections) -> None:
    array = np.full((60, 80, 3), 200, np.uint8)
    held = drawable(detections, weakref.ref(array))
    assert same_pixels(held.plot(), detections.plot(array))
    assert held._repr_jpeg_() is not None
    del array
    with pytest.raises(ImageError, match=r"not in memory: give it, as in detections.plot\(image\)"):
        held.plot()
    assert held._repr_jpeg_() is None


def test_an_image_for_notebooks(tmp_path: Path, detections: Detections) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (3000, 1500)).save(path)
    data = drawable(detections, path)._repr_jpeg_()
    assert data is not None
    with Image.open(BytesIO(data)) as shown:
        assert (shown.format, shown.size) == ("JPEG", (1024, 512))
    path.unlink()
    assert drawable(detections, path)._repr_jpeg_() is None
    assert detections._repr_jpeg_() is None


def test_copies_and_pickles(detections: Detections) -> None:
    array = np.zeros((8, 8, 3), np.uint8)
    held = drawable(detections, weakref.ref(array))
    for copied in (pickle.loads(pickle.dumps(held)), copy.deepcopy(held), copy.copy(held)):
        assert copied == held
        assert copied.source is None
    assert pickle.loads(pickle.dumps(drawable(detections, Path("a.png")))).source == Path("a.png")


def test_coco(detections: Detections) -> None:
    results = detections.to_coco(7)
    assert json.loads(json.dumps(results)) == results
    assert [result["category_id"] for result in results] == [2, 1, 2]
    assert results[2] == {"image_id": 7, "category_id": 2, "bbox": [8.0, 9.0, 2.0, 2.5], "score": 0.25}
    assert [result["category_id"] for result in detections.to_coco("a.jpg", [17, 90])] == [90, 17, 90]
    assert [result["category_id"] for result in detections.to_coco(7, detections.names)] == ["dog", "cat", "dog"]
    assert detections[[]].to_coco(7) == []
    with pytest.raises(ConfigError, match="3 category ids for the 2 classes of the model"):
        detections.to_coco(7, [1, 2, 3])


def test_supervision(detections: Detections) -> None:
    supervision = pytest.importorskip("supervision", reason="supervision is an extra")
    for chosen in (detections, detections[[]]):
        made = chosen.to_supervision()
        assert isinstance(made, supervision.Detections)
        assert made.xyxy.tolist() == chosen.boxes.tolist()
        assert made.confidence.tolist() == chosen.scores.tolist()
        assert made.class_id.tolist() == chosen.labels.tolist()
        assert made["class_name"].tolist() == [name for _, _, name in chosen]
    dogs = detections.to_supervision()
    assert dogs[dogs["class_name"] == "dog"].xyxy.tolist() == detections[[0, 2]].boxes.tolist()
    dogs.xyxy[:] = 0  # a copy, as the detections are constant
    assert detections.boxes.any()


def test_without_supervision(detections: Detections, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ConfigError, match=r"supervision is not installed: pip install 'paa\[supervision\]'"):
        detections.to_supervision()


@pytest.mark.parametrize("threshold", ["0.3", None, {"cat": 0.2}])
def test_a_threshold_that_is_no_number(detections: Detections, threshold: Any) -> None:
    with pytest.raises(ConfigError, match="threshold must be a number, got"):
        detections.above(threshold)
