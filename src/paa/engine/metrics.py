"""COCO's twelve numbers and each class's AP, for any data set that has a columnar index."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from paa.data.index import DatasetIndex
from paa.engine.run_folder import write_text
from paa.errors import ConfigError

SUMMARY_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


@dataclass(frozen=True)
class DetectionTable:
    """The detections of a whole evaluation, one column a fact, in any order.

    image (M,): int64, the picture's position in the index. boxes (M, 4): float32, continuous xyxy pixels of the
    original picture. scores (M,): float32. labels (M,): int64 from 0.
    """

    image: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> DetectionTable:
        """Return only these rows (positions or a mask), in this order."""
        return DetectionTable(self.image[rows], self.boxes[rows], self.scores[rows], self.labels[rows])

    @staticmethod
    def concatenate(tables: Sequence[DetectionTable]) -> DetectionTable:
        """Return the rows of all tables, in order; no tables give an empty one."""
        empty = DetectionTable(
            np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
        )
        parts = [empty, *tables]
        return DetectionTable(
            np.concatenate([part.image for part in parts]),
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.labels for part in parts]),
        )


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


def evaluate(
    index: DatasetIndex,
    table: DetectionTable,
    *,
    images: npt.NDArray[np.int64] | None = None,
    evaluator: Literal["faster", "pycocotools"] = "faster",
) -> CocoMetrics:
    """Return COCO's numbers for these detections; prints nothing.

    images: the positions in the index to evaluate (default: all); detections in other pictures are left out.
    evaluator: `pycocotools`, the reference, gives the same digits, several times slower; it is installed by hand.
    Raises ConfigError if a label is not a class of the data set, ValueError if a position is not a picture of it.
    """
    table = evaluated(index, table, images)
    chosen = np.arange(len(index)) if images is None else np.unique(images)
    labels = range(len(index.names))
    shared = {
        "images": [{"id": i} for i in index.image_ids[chosen].tolist()],
        "categories": [{"id": label, "name": index.names[label]} for label in labels],
    }
    truth = _ground_truths(index.select(chosen))
    with contextlib.redirect_stdout(io.StringIO()):
        result = _run(evaluator, {**shared, "annotations": truth}, {**shared, "annotations": _detections(index, table)})
    summary = dict(zip(SUMMARY_NAMES, (_defined(value) for value in result.stats[:12])))
    precision = np.asarray(result.eval["precision"])[:, :, :, 0, -1]  # (IoUs, recalls, classes), all sizes, best 100
    objects = np.bincount([a["category_id"] for a in truth if not a["iscrowd"]], minlength=len(index.names))
    classes = tuple(
        ClassMetrics(
            index.names[label],
            int(objects[label]),
            _defined(precision[:, :, label].mean()),
            _defined(precision[0, :, label].mean()),
        )
        for label in labels
    )
    return CocoMetrics(summary, classes)


def evaluated(index: DatasetIndex, table: DetectionTable, images: npt.NDArray[np.int64] | None) -> DetectionTable:
    """Return the detections in the evaluated pictures, checked against the data set (see `evaluate`)."""
    if len(table) and not 0 <= table.labels.min() <= table.labels.max() < len(index.names):
        raise ConfigError(
            f"a detection has label {table.labels.max()}, but the data set has {len(index.names)} classes: "
            "evaluate with the model that was trained for them"
        )
    if len(table) and not 0 <= table.image.min() <= table.image.max() < len(index):
        raise ValueError(f"positions 0..{len(index) - 1} expected, {table.image.min()}..{table.image.max()} came")
    return table if images is None else table.select(np.isin(table.image, images))


def coco_results(index: DatasetIndex, table: DetectionTable) -> list[dict[str, Any]]:
    """Return the detections in COCO's result format, with the file's own ids; `bbox` is xywh in pixels."""
    columns = (
        index.image_ids[table.image].tolist(),
        index.category_ids[table.labels].tolist(),
        _xywh(table.boxes).tolist(),
        table.scores.tolist(),
    )
    return [
        {"image_id": image, "category_id": category, "bbox": box, "score": score}
        for image, category, box, score in zip(*columns)
    ]


def write_results(path: Path, index: DatasetIndex, table: DetectionTable) -> None:
    """Write COCO's result file: whole or, if the writing is cut short, not at all. Missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(coco_results(index, table)))


def _run(evaluator: str, truth: dict[str, Any], detections: dict[str, Any]) -> Any:
    """Return the evaluator after its work: `stats` and `eval` are set."""
    if evaluator == "pycocotools":
        try:
            from pycocotools.coco import COCO
            from pycocotools.cocoeval import COCOeval as Evaluator
        except ImportError as error:
            raise ConfigError("the evaluator pycocotools is not installed: pip install pycocotools") from error
    else:
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as Evaluator
    sides = []
    for dataset in (truth, detections):
        side = COCO()
        side.dataset = dataset
        side.createIndex()
        sides.append(side)
    run = Evaluator(*sides, iouType="bbox")
    run.evaluate()
    run.accumulate()
    run.summarize()
    return run


def _ground_truths(index: DatasetIndex) -> list[dict[str, Any]]:
    """Return COCO annotations; ids from 1, since both evaluators take the id 0 for "unmatched"."""
    columns = (
        np.repeat(index.image_ids, np.diff(index.offsets)).tolist(),
        index.labels.tolist(),
        _xywh(index.boxes).tolist(),
        index.areas.tolist(),
        index.crowd.astype(int).tolist(),
    )
    return [
        {"id": i, "image_id": image, "category_id": label, "bbox": box, "area": area, "iscrowd": crowd, "ignore": crowd}
        for i, (image, label, box, area, crowd) in enumerate(zip(*columns), start=1)
    ]


def _detections(index: DatasetIndex, table: DetectionTable) -> list[dict[str, Any]]:
    """Return COCO annotations with scores: what the evaluators' `loadRes` makes, less its polygons."""
    boxes = _xywh(table.boxes)
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


def _xywh(boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return xyxy boxes (n, 4) as xywh, in float64 so that nothing is rounded."""
    corners = boxes.astype(np.float64)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)


def _defined(value: float) -> float | None:
    """Return the number, or None for the -1 that COCO writes where there is nothing to measure."""
    return None if value < 0 else float(value)
