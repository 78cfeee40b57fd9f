from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

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
