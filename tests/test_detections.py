from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch

from paa import Detections


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
