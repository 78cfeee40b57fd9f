"""The best score threshold of each class: the point of its precision-recall curve of highest precision x recall.

AP says how good a detector is over all thresholds; a person who uses the detector picks one. Precision x recall is the
rectangle under the curve at that point; its share of the AP says how much of the curve a single threshold can use.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from paa.evaluation.metrics import Evaluation

_SLACK = 1e-5
"""By how much a threshold is below the lowest score that it lets through."""


@dataclass(frozen=True)
class OperatingPoint:
    """Precision and recall (0..1) of a class's detections with scores >= threshold.

    threshold: a little below the lowest of these scores, and above the next one: the same network in batches of another
    size gives scores that differ in their last digits.
    """

    threshold: float
    precision: float
    recall: float

    @property
    def product(self) -> float:
        """Return precision x recall: the rectangle under the curve at this point, never more than the AP."""
        return self.precision * self.recall


@dataclass(frozen=True)
class ClassCurve:
    """One class's precision-recall curve at one IoU threshold, over every detection.

    objects: the number of ground truths to find, without crowds. scores, precision, recall (n,): float64, after each
    detection, best first, without detections on crowds. ap: the area under all points of the curve, not COCO's 101;
    ap_mean: the mean of that area over IoU 0.50:0.95; both None without objects. point: the best operating point; None
    if no object was found.
    """

    name: str
    objects: int
    scores: npt.NDArray[np.float64]
    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]
    ap: float | None
    ap_mean: float | None
    point: OperatingPoint | None

    @property
    def share(self) -> float | None:
        """Return the best point's precision x recall as a share of the AP (0..1); None if no object was found."""
        return self.point.product / self.ap if self.point and self.ap else None


def precision_recall(evaluation: Evaluation, iou: float = 0.5) -> tuple[ClassCurve, ...]:
    """Return every class's curve and best operating point at IoU `iou`, by label.

    iou: one of COCO's ten thresholds, else ValueError.
    """
    table, thresholds = evaluation.table, evaluation.run.params.iou_thrs
    order = np.lexsort((table.image, -table.scores, table.labels))  # each class best first, ties by image as in COCO
    bounds = np.searchsorted(table.labels[order], np.arange(len(evaluation.metrics.classes) + 1)).tolist()
    chosen = evaluation.verdicts(iou)[order]
    verdicts = [evaluation.verdicts(threshold)[order] for threshold in thresholds]
    curves = []
    for start, end, metrics in zip(bounds, bounds[1:], evaluation.metrics.classes):
        rows = slice(start, end)
        precision, recall = _points(chosen[rows], metrics.objects)
        aps = [average_precision(*_points(verdict[rows], metrics.objects)) for verdict in verdicts]
        scores = table.scores[order[rows]][chosen[rows] >= 0].astype(np.float64)
        curves.append(
            ClassCurve(
                name=metrics.name,
                objects=metrics.objects,
                scores=scores,
                precision=precision,
                recall=recall,
                ap=average_precision(precision, recall) if metrics.objects else None,
                ap_mean=float(np.mean(aps)) if metrics.objects else None,
                point=best_point(scores, precision, recall),
            )
        )
    return tuple(curves)


def envelope(precision: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return, for each point (n,), the best precision at its recall or a higher one: AP is the area under it."""
    return np.maximum.accumulate(precision[::-1])[::-1]


def average_precision(precision: npt.NDArray[np.float64], recall: npt.NDArray[np.float64]) -> float:
    """Return the area under the envelope of a curve's points (n,), recall ascending, from recall 0 to its last."""
    return float(np.sum(envelope(precision) * np.diff(recall, prepend=0.0)))


def best_point(
    scores: npt.NDArray[np.float64], precision: npt.NDArray[np.float64], recall: npt.NDArray[np.float64]
) -> OperatingPoint | None:
    """Return the point of highest precision x recall, the first if several are equal; None if no object was found.

    scores (n,): descending. Where scores tie, only the point after the last of them belongs to a threshold.
    """
    if not recall.any():
        return None
    product = np.where(np.diff(scores, append=-np.inf) < 0, precision * recall, -1.0)
    best = int(product.argmax())
    following = float(scores[best + 1]) if best + 1 < len(scores) else -np.inf
    threshold = max((float(scores[best]) + following) / 2, float(scores[best]) - _SLACK)
    return OperatingPoint(threshold, float(precision[best]), float(recall[best]))


def _points(verdicts: npt.NDArray[np.int8], objects: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return precision and recall after each detection that counts. verdicts (n,): as `Evaluation.verdicts`."""
    right = verdicts[verdicts >= 0]
    found = np.cumsum(right)
    return found / np.arange(1, len(right) + 1), found / max(objects, 1)
