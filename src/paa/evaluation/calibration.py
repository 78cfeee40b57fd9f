"""Whether scores mean what they say: of detections with scores near 0.8, are 80 % right?"""

from __future__ import annotations

from dataclasses import dataclass

from paa.evaluation.metrics import Evaluation


@dataclass(frozen=True)
class CalibrationBin:
    """The detections with scores from low to high: how many, their mean score, and the share that is right."""

    low: float
    high: float
    count: int
    score: float
    right: float


@dataclass(frozen=True)
class Calibration:
    """How far scores are from the share of right detections at IoU 0.5, over ten bins of scores.

    error: the mean distance, weighted by the number of detections (expected calibration error). largest: of any bin.
    classes: the error of each class with detections, by name.
    """

    error: float
    largest: float
    bins: tuple[CalibrationBin, ...]
    classes: dict[str, float]


def calibration(evaluation: Evaluation) -> Calibration | None:
    """Return the calibration of scores; None without detections that count, or where scores are not in 0..1."""
    scores = evaluation.table.scores
    if not len(scores) or scores.min() < 0 or scores.max() > 1:
        return None
    found = evaluation.run.calibration()
    bins = tuple(
        CalibrationBin(b["bin_lower"], b["bin_upper"], b["count"], b["avg_confidence"], b["avg_accuracy"])
        for b in found["bins"]
    )
    if not any(each.count for each in bins):
        return None
    return Calibration(found["ece"], found["mce"], bins, found["per_category"])
