"""Where on its precision-recall curve a class is best used: the threshold of highest precision x recall.

AP says how good a detector is over all thresholds; a person who uses it picks one. The rectangle under the curve at the
best point is what that person gets, and its share of the AP says how much of the curve one threshold can make use of.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from paa.data.index import DatasetIndex
from paa.evaluation.matching import COCO_IOUS, MAX_DETECTIONS, match
from paa.inference.table import DetectionTable


@dataclass(frozen=True)
class OperatingPoint:
    """A use of the detector: keep scores >= threshold, and get this precision and recall (0..1)."""

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

    objects: how many there are to find, crowds left out. scores, precision, recall (n,): float64, after each detection,
    best first; detections on crowds are left out. ap: over all points of the curve, not COCO's 101; ap_mean: its mean
    over IoU 0.50:0.95; both None without objects. point: the best operating point; None if nothing was found.
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
        """Return the best point's precision x recall as a share of the AP (0..1); None if nothing was found."""
        return self.point.product / self.ap if self.point and self.ap else None


def precision_recall(
    index: DatasetIndex,
    table: DetectionTable,
    *,
    iou: float = 0.5,
    images: npt.NDArray[np.int64] | None = None,
    max_detections: int = MAX_DETECTIONS,
) -> tuple[ClassCurve, ...]:
    """Return every class's curve and best operating point at IoU `iou`, by label.

    images: the positions in the index to evaluate (default: all). max_detections: how many of an image and class
    count, at least COCO's 100. Raises as `paa.evaluation.metrics.evaluate`.
    """
    matches = match(index, table, ious=(iou, *COCO_IOUS), images=images, most=max(max_detections, MAX_DETECTIONS))
    right, ignored = (np.stack(v) for v in zip(*(matches.verdict(t) for t in range(len(COCO_IOUS) + 1))))
    bounds = np.searchsorted(matches.labels, np.arange(len(index.names) + 1)).tolist()
    curves = []
    for label, name in enumerate(index.names):
        rows = slice(*bounds[label : label + 2])
        objects = int(matches.objects[0, label])
        aps, points = [], []
        for r, i in zip(right[:, rows], ignored[:, rows]):
            points.append(_points(r[~i], objects))
            aps.append(average_precision(*points[-1]) if objects else None)
        scores = matches.scores[rows][~ignored[0, rows]].astype(np.float64)
        means = [ap for ap in aps[1:] if ap is not None]
        curves.append(
            ClassCurve(
                name=name,
                objects=objects,
                scores=scores,
                precision=points[0][0],
                recall=points[0][1],
                ap=aps[0],
                ap_mean=float(np.mean(means)) if means else None,
                point=best_point(scores, *points[0]),
            )
        )
    return tuple(curves)


def envelope(precision: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return (n,) the best precision at this recall or any higher: the curve that AP is the area of."""
    return np.maximum.accumulate(precision[::-1])[::-1]


def average_precision(precision: npt.NDArray[np.float64], recall: npt.NDArray[np.float64]) -> float:
    """Return the area under the envelope of a curve's points (n,), recall ascending, from recall 0 to its last."""
    return float(np.sum(envelope(precision) * np.diff(recall, prepend=0.0)))


def best_point(
    scores: npt.NDArray[np.float64], precision: npt.NDArray[np.float64], recall: npt.NDArray[np.float64]
) -> OperatingPoint | None:
    """Return the point of highest precision x recall (of equals the highest threshold); None if nothing was found.

    scores (n,): descending. Where scores tie, only the point after the last of them can be had by a threshold.
    """
    if not recall.any():
        return None
    product = np.where(np.diff(scores, append=-np.inf) < 0, precision * recall, -1.0)
    best = int(product.argmax())
    return OperatingPoint(float(scores[best]), float(precision[best]), float(recall[best]))


def _points(right: npt.NDArray[np.bool_], objects: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return precision and recall (n,) after each detection."""
    found = np.cumsum(right)
    return found / np.arange(1, len(right) + 1), found / max(objects, 1)
