"""COCO's twelve numbers and each class's AP, for any data set that has a columnar index.

The rules are those of pycocotools' `COCOeval`, to the last digit. What makes it quick beside `paa.evaluation.matching`:
a curve is looked at only where an object is found, as only there recall rises and precision is at its highest.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from paa.data.index import DatasetIndex
from paa.errors import ConfigError
from paa.evaluation.coco_results import evaluated, xywh
from paa.evaluation.matching import COCO_IOUS, COCO_SIZES, MAX_DETECTIONS, match
from paa.inference.table import DetectionTable

SUMMARY_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class ClassMetrics:
    """One class's numbers, 0..1; None where it has no objects to find. objects: its ground truths, crowds left out."""

    name: str
    objects: int
    ap: float | None
    ap50: float | None


@dataclass(frozen=True)
class CocoMetrics:
    """What an evaluation found, in 0..1. A number that is not defined (no objects of that size) is None.

    summary: COCO's twelve numbers by `SUMMARY_NAMES`. classes: one a class, by label.
    """

    summary: dict[str, float | None]
    classes: tuple[ClassMetrics, ...]

    def __getitem__(self, name: str) -> float | None:
        return self.summary[name]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold: the twelve numbers, and `classes`, each class's by its name."""
        classes = {c.name: {"AP": c.ap, "AP50": c.ap50, "objects": c.objects} for c in self.classes}
        return {**self.summary, "classes": classes}


@dataclass(frozen=True)
class _Curves:
    """T IoU thresholds, R recalls, C classes; -1 in a class without objects to find.

    stats (12,): COCO's numbers, by `SUMMARY_NAMES`. precision (T, R, C): over all sizes.
    """

    stats: list[float]
    precision: npt.NDArray[np.float64]


def evaluate(
    index: DatasetIndex,
    table: DetectionTable,
    *,
    images: npt.NDArray[np.int64] | None = None,
    evaluator: Literal["built-in", "pycocotools"] = "built-in",
    max_detections: int = MAX_DETECTIONS,
) -> CocoMetrics:
    """Return COCO's numbers for these detections; prints nothing.

    images: the positions in the index to evaluate (default: all); detections in other images are left out.
    evaluator: `pycocotools`, the reference, gives the same digits, very much slower; it is installed by hand.
    max_detections: how many of an image and class count, at least COCO's 100; above, AR100 is named after it.
    Raises ConfigError if a label is not a class of the data set, ValueError if a position is not an image of it.
    """
    index, table = evaluated(index, table, images)
    most = max(max_detections, MAX_DETECTIONS)
    if evaluator != "built-in" and most > MAX_DETECTIONS:
        raise ConfigError(f"pycocotools judges the best {MAX_DETECTIONS} detections: leave out --max-detections {most}")
    curves = _built_in(index, table, most) if evaluator == "built-in" else _pycocotools(index, table)
    names = [f"AR{most}" if name == f"AR{MAX_DETECTIONS}" else name for name in SUMMARY_NAMES]
    objects = np.bincount(index.labels[~index.crowd], minlength=len(index.names))
    ap, ap50 = (part.mean(axis=(0, 1)).tolist() for part in (curves.precision, curves.precision[:1]))
    return CocoMetrics(
        dict(zip(names, map(_defined, curves.stats))),
        tuple(
            ClassMetrics(name, int(objects[label]), _defined(ap[label]), _defined(ap50[label]))
            for label, name in enumerate(index.names)
        ),
    )


def _built_in(index: DatasetIndex, table: DetectionTable, most: int) -> _Curves:
    matches = match(index, table, sizes=COCO_SIZES, most=most)
    shape = len(COCO_SIZES), len(COCO_IOUS)
    precision = np.empty((*shape, len(RECALLS), len(index.names)))
    recall = {count: np.empty((*shape, len(index.names))) for count in (1, 10, most)}
    for bit, (size, iou) in enumerate(np.ndindex(shape)):
        objects = matches.objects[size]
        right, ignored = matches.verdict(bit)
        precision[size, iou] = _precision(matches.labels, right, ignored, objects)
        for count, values in recall.items():
            found = np.bincount(matches.labels[right & (matches.rank < count)], minlength=len(objects))
            values[size, iou] = np.where(objects > 0, found / np.maximum(objects, 1), -1)
    parts = (  # IoU 0.50 is the first threshold, 0.75 the sixth
        *(precision[0], precision[0, :1], precision[0, 5:6], *precision[1:]),
        *(recall[1][0], recall[10][0], *recall[most]),
    )
    return _Curves([part[part > -1].mean() if (part > -1).any() else -1.0 for part in parts], precision[0])


def _precision(
    labels: npt.NDArray[np.int64],
    right: npt.NDArray[np.bool_],
    ignored: npt.NDArray[np.bool_],
    objects: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """Return the highest precision at each of the 101 recalls or any higher, of each class, (R, C).

    labels, right, ignored (N,): the detections by class, then best first. objects (C,): how many there are to find.
    """
    classes = len(objects)
    rows = np.flatnonzero(right)
    found = np.bincount(labels[rows], minlength=classes)
    first = np.cumsum(found) - found  # the row in `rows` of each class's first
    number = np.arange(len(rows)) - first[labels[rows]] + 1
    counted = np.append(0, np.cumsum(~ignored))
    before = counted[np.searchsorted(labels, np.arange(classes))]
    # the spacing is pycocotools'
    precision = number / (counted[rows + 1] - before[labels[rows]] + np.spacing(1))

    # How many must be found for each recall: at least one, as recall 0 too takes the best precision there is. The
    # product is rounded, but what counts is whether the quotient, rounded, reaches the recall.
    total = np.maximum(objects, 1)[:, None]
    least = np.ceil(RECALLS * total)
    least -= (least - 1) / total >= RECALLS
    least += least / total < RECALLS
    least = np.maximum(least, 1).astype(np.int64)
    # the best from each of these to the next, 0 where so many are not found, and then from each to the last
    place = first[:, None] + np.minimum(least - 1, found[:, None])
    best = np.maximum.reduceat(np.append(precision, 0), place.ravel()).reshape(place.shape)
    best = np.where(least <= found[:, None], best, 0)
    best = np.maximum.accumulate(best[:, ::-1], axis=1)[:, ::-1]
    result: npt.NDArray[np.float64] = np.where(objects > 0, best.T, -1)
    return result


def _pycocotools(index: DatasetIndex, table: DetectionTable) -> _Curves:
    with contextlib.redirect_stdout(io.StringIO()):
        run = coco_eval(index, table)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return _Curves(run.stats.tolist(), np.ascontiguousarray(run.eval["precision"][:, :, :, 0, -1]))


def coco_eval(index: DatasetIndex, table: DetectionTable) -> Any:
    """Return pycocotools' `COCOeval` of these detections, before its work; its categories are labels.

    Raises ConfigError if pycocotools is not installed.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise ConfigError("the evaluator pycocotools is not installed: pip install pycocotools") from error
    sides = []
    for dataset in coco_datasets(index, table):
        side = COCO()
        side.dataset = dataset
        side.createIndex()
        sides.append(side)
    return COCOeval(*sides, iouType="bbox")


def coco_datasets(index: DatasetIndex, table: DetectionTable) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return ground truths and detections as the data sets that COCO's tools work on; categories are labels."""
    shared = {
        "images": [{"id": i} for i in index.image_ids.tolist()],
        "categories": [{"id": label, "name": name} for label, name in enumerate(index.names)],
    }
    return {**shared, "annotations": _ground_truths(index)}, {**shared, "annotations": _detections(index, table)}


def _ground_truths(index: DatasetIndex) -> list[dict[str, Any]]:
    """Return COCO annotations; ids from 1, since pycocotools takes the id 0 for "unmatched"."""
    columns = (
        np.repeat(index.image_ids, np.diff(index.offsets)).tolist(),
        index.labels.tolist(),
        xywh(index.boxes).tolist(),
        index.areas.tolist(),
        index.crowd.astype(int).tolist(),
    )
    return [
        {"id": i, "image_id": image, "category_id": label, "bbox": box, "area": area, "iscrowd": crowd, "ignore": crowd}
        for i, (image, label, box, area, crowd) in enumerate(zip(*columns), start=1)
    ]


def _detections(index: DatasetIndex, table: DetectionTable) -> list[dict[str, Any]]:
    """Return COCO annotations with scores: what `loadRes` makes, less its polygons."""
    boxes = xywh(table.boxes)
    columns = (
        index.image_ids[table.image].tolist(),
        table.labels.tolist(),
        boxes.tolist(),
        (boxes[:, 2] * boxes[:, 3]).tolist(),
        table.scores.tolist(),
    )
    return [
        {"id": i, "image_id": image, "category_id": label, "bbox": box, "area": area, "score": score, "iscrowd": 0}
        for i, (image, label, box, area, score) in enumerate(zip(*columns), start=1)
    ]


def _defined(value: float) -> float | None:
    """Return the number, or None for the -1 that COCO writes where there is nothing to measure."""
    return None if value < 0 else float(value)
