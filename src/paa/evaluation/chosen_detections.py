"""The detections that a user would see: of each class, those of its operating point's score or more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from paa.core.boxes import iou
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
    chosen = table.select(table.scores.astype(np.float64) >= thresholds[table.labels])
    return evaluate(evaluation.index, chosen, max_detections=evaluation.run.params.max_dets[-1])


def on_crowds_alone(evaluation: Evaluation) -> npt.NDArray[np.bool_]:
    """Return (N,), whether a detection lies by half on a crowd or difficult object, of whatever class, and on no other.

    Nobody can say of such a detection that nothing is there. COCO's numbers look at crowds of the same class alone. On
    an object: at IoU 0.5.
    """
    index, table = evaluation.index, evaluation.table
    alone = np.zeros(len(table), np.bool_)
    owner = np.repeat(np.arange(len(index)), np.diff(index.offsets))
    order = np.argsort(table.image, kind="stable")
    starts = np.searchsorted(table.image[order], np.arange(len(index) + 1))
    for image in np.unique(owner[index.crowd]).tolist():
        rows = order[starts[image] : starts[image + 1]]
        here = slice(*index.offsets[image : image + 2].tolist())
        found, crowd = table.boxes[rows][:, None], index.crowd[here]
        crowds, objects = index.boxes[here][crowd], index.boxes[here][~crowd]
        sides = np.minimum(found[..., 2:], crowds[:, 2:]) - np.maximum(found[..., :2], crowds[:, :2])
        shared = sides.clip(min=0).prod(-1)
        hidden = (shared > 0) & (shared >= 0.5 * (found[..., 2:] - found[..., :2]).prod(-1))
        overlaps = iou(torch.from_numpy(found), torch.from_numpy(objects)).numpy()
        alone[rows] = hidden.any(1) & ~(overlaps >= 0.5).any(1)
    return alone
