from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from paa import Detections
from paa.errors import ConfigError
from paa.inference.keep import keep_for

NAMES = ("cat", "dog", "traffic light")


def detections(count: int = 200) -> Detections:
    rng = np.random.default_rng(0)
    scores = np.sort(rng.random(count).astype(np.float32))[::-1].copy()
    return Detections(rng.random((count, 4)).astype(np.float32), scores, rng.integers(0, 3, count), NAMES)


def test_everything_is_kept_by_default() -> None:
    assert keep_for(NAMES)(detections()) == detections()
    assert keep_for(NAMES)(detections(0)) == detections(0)


def test_thresholds_classes_and_the_best() -> None:
    """Equal to what a loop over the detections keeps."""
    keep = keep_for(NAMES, 0.3, thresholds={"cat": 0.9, "dog": 0.5}, classes=("traffic light", "cat"), most=20)
    least = {"cat": 0.9, "traffic light": 0.3}
    expected = [d for d in detections().to_dicts() if d["score"] >= least.get(d["name"], 2)][:20]
    assert keep(detections()).to_dicts() == expected
    assert {d["name"] for d in expected} == set(least)
    assert len(expected) == 20


def test_a_score_equal_to_the_threshold_is_kept() -> None:
    found = detections()
    threshold = float(found.scores[50])
    assert len(keep_for(NAMES, thresholds=dict.fromkeys(NAMES, threshold))(found)) == 51


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["cat", "cow"]}, "--classes: the model has no class cow; its classes are cat, dog, traffic light"),
        ({"thresholds": {"cow": 0.5}}, "--thresholds: the model has no class cow; its classes are"),
        ({"most": 0}, "--top-k must be at least 1, got 0"),
    ],
)
def test_what_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        keep_for(NAMES, **options)
