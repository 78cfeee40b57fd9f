"""The detections that a user would see: of each class, those of its operating point's score or more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paa.evaluation.metrics import Evaluation, evaluate
from paa.evaluation.operating_point import ClassCurve

DEFAULT_THRESHOLD = 0.5
"""Of a class without an operating point: none of its objects was found."""


def at_operating_points(evaluation: Evaluation, curves: Sequence[ClassCurve]) -> Evaluation:
    """Return the evaluation of the detections with at least the score of their class's operating point.

    curves: by label. Its numbers say nothing of a detector's worth; its matches are those that a user meets.
    """
    thresholds = np.array([curve.point.threshold if curve.point else DEFAULT_THRESHOLD for curve in curves])
    table = evaluation.table
    # a threshold is one of the scores, widened to float64
    chosen = table.select(table.scores.astype(np.float64) >= thresholds[table.labels])
    return evaluate(evaluation.index, chosen, max_detections=evaluation.run.params.max_dets[-1])
