"""COCO's twelve numbers and each class's AP, for any data set that has a columnar index.

The library hotcoco matches detections to ground truths and averages, by the rules of pycocotools' `COCOeval` (crowds,
ties, size ranges) and to the last digit. The tests compare every number with pycocotools'. Boxes are in single
precision here: where an IoU or an area is within its rounding of a limit, pycocotools may decide otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import hotcoco
import numpy as np
import numpy.typing as npt

from paa.data.index import DatasetIndex
from paa.errors import ConfigError
from paa.evaluation.coco_results import xywh
from paa.inference.table import DetectionTable

SUMMARY_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
MAX_DETECTIONS = 100


@dataclass(frozen=True)
class ClassMetrics:
    """The AP of one class, 0..1; None without objects. objects: the number of ground truths to find, without crowds."""

    name: str
    objects: int
    ap: float | None
    ap50: float | None


@dataclass(frozen=True)
class CocoMetrics:
    """COCO's numbers, 0..1. A number that is not defined (no objects of that size) is None.

    summary: the twelve numbers by `SUMMARY_NAMES`. classes: the numbers of each class, by label.
    """

    summary: dict[str, float | None]
    classes: tuple[ClassMetrics, ...]

    def __getitem__(self, name: str) -> float | None:
        return self.summary[name]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold: the twelve numbers, and `classes`, by name."""
        classes = {c.name: {"AP": c.ap, "AP50": c.ap50, "objects": c.objects} for c in self.classes}
        return {**self.summary, "classes": classes}


@dataclass(frozen=True)
class Evaluation:
    """A data set's detections, matched to its ground truths once, and all that is read from the matches.

    index: the evaluated images, in order of image id. table: the evaluated detections (N), their image a position in
    that index. metrics: COCO's numbers. run: hotcoco's evaluator after matching, for its other reports (kinds of
    errors, calibration, label errors); its image ids are positions, its category ids labels, its annotation ids
    rows + 1.
    """

    index: DatasetIndex
    table: DetectionTable
    metrics: CocoMetrics
    run: hotcoco.COCOeval

    def verdicts(self, iou: float) -> npt.NDArray[np.int8]:
        """Return (N,): 1 for a detection that found an object, 0 for a wrong one, -1 for one that does not count.

        iou: one of COCO's ten thresholds, else ValueError. Detections on a crowd do not count, nor those beyond the
        limit of detections of a class and image.
        """
        status = self._statuses(iou, "dt_status")
        verdicts = np.full(len(self.table), -1, np.int8)
        rows = np.fromiter(status, np.int64, len(status)) - 1
        verdicts[rows] = np.fromiter((s == "tp" for s in status.values()), bool, len(status))
        return verdicts

    def found(self, iou: float) -> npt.NDArray[np.int8]:
        """Return (A,), for each object of the index: 1 if it was found, 0 if it was missed, -1 for a crowd.

        iou: one of COCO's ten thresholds, else ValueError.
        """
        status = self._statuses(iou, "gt_status")
        found = np.full(len(self.index.labels), -1, np.int8)
        rows = np.fromiter(status, np.int64, len(status)) - 1
        found[rows] = np.fromiter((s == "matched" for s in status.values()), bool, len(status))
        return found

    def _statuses(self, iou: float, key: str) -> dict[int, str]:
        """Return hotcoco's word on each detection or object that counts, by its id."""
        thresholds = self.run.params.iou_thrs
        if not np.isclose(thresholds, iou).any():
            raise ValueError(f"expected an IoU of {', '.join(f'{t:.2f}' for t in thresholds)}, got {iou}")
        # score_thr: the least score of what hotcoco reports as label errors, none of which are wanted here
        status: dict[int, str] = self.run.image_diagnostics(iou, score_thr=float("inf"))[key]
        return status


def evaluate(
    index: DatasetIndex,
    table: DetectionTable,
    *,
    images: npt.NDArray[np.int64] | None = None,
    max_detections: int = MAX_DETECTIONS,
) -> Evaluation:
    """Match detections to ground truths and compute COCO's numbers; prints nothing.

    images: the positions in the index to evaluate (default: all); detections in other images are left out.
    max_detections: how many of an image and class count, at least COCO's 100; above that, AR100 becomes AR300, say.
    Raises ConfigError if a label is not a class of the data set, ValueError if a position is not an image of it or a
    score is NaN.
    """
    index, table = _select(index, table, images)
    limit = max(max_detections, MAX_DETECTIONS)
    run = hotcoco.COCOeval(*_datasets(index, table), "bbox")
    run.params.max_dets = [1, 10, limit]
    run.evaluate()
    run.accumulate()
    run.summary_lines()  # computes run.stats, as `summarize` does, which prints too
    assert run.eval is not None
    precision = run.eval["precision"][..., 0, -1]  # by IoU, recall and class; objects of all sizes, all detections
    to_find = ~index.crowd & (index.areas <= run.params.area_rng[0][1])  # COCO leaves out what is larger than 1e10
    objects = np.bincount(index.labels[to_find], minlength=len(index.names))
    ap, ap50 = precision.mean(axis=(0, 1)).tolist(), precision[0].mean(axis=0).tolist()
    names = [f"AR{limit}" if name == f"AR{MAX_DETECTIONS}" else name for name in SUMMARY_NAMES]
    metrics = CocoMetrics(
        dict(zip(names, map(defined, run.stats))),
        tuple(
            ClassMetrics(name, int(objects[label]), defined(ap[label]), defined(ap50[label]))
            for label, name in enumerate(index.names)
        ),
    )
    return Evaluation(index, table, metrics, run)


def _select(
    index: DatasetIndex, table: DetectionTable, images: npt.NDArray[np.int64] | None
) -> tuple[DatasetIndex, DetectionTable]:
    """Return the data set with only these images (positions; default: all), by image id, and its detections.

    The order of images decides between equal scores in different ones. Raises as `evaluate`.
    """
    if len(table) and not 0 <= table.labels.min() <= table.labels.max() < len(index.names):
        raise ConfigError(
            f"a detection has label {table.labels.max()}, but the data set has {len(index.names)} classes: "
            "evaluate with the model that was trained for them"
        )
    if len(table) and not 0 <= table.image.min() <= table.image.max() < len(index):
        raise ValueError(f"expected positions 0..{len(index) - 1}, got {table.image.min()}..{table.image.max()}")
    chosen = np.arange(len(index)) if images is None else np.unique(images)
    chosen = chosen[np.argsort(index.image_ids[chosen])]
    place = np.full(len(index), -1)
    place[chosen] = np.arange(len(chosen))
    moved = DetectionTable(place[table.image], table.boxes, table.scores, table.labels)
    return index.select(chosen), moved if images is None else moved.select(moved.image >= 0)


def _datasets(index: DatasetIndex, table: DetectionTable) -> tuple[hotcoco.COCO, hotcoco.COCO]:
    """Return ground truths and detections as hotcoco's data sets.

    Ids are positions and labels: hotcoco takes no negative ids, and reads those of detections as float64, which is
    not exact above 2^53.
    """
    truth = hotcoco.COCO.from_arrays(
        [{"id": i} for i in range(len(index))],
        [{"id": label, "name": name} for label, name in enumerate(index.names)],
        np.repeat(np.arange(len(index)), np.diff(index.offsets)),
        index.labels,
        xywh(index.boxes),
        area=index.areas,
        iscrowd=index.crowd,
    )
    return truth, truth.load_res(np.column_stack([table.image, xywh(table.boxes), table.scores, table.labels]))


def defined(value: float) -> float | None:
    """Return the number, or None for the -1 that COCO writes where there is nothing to measure."""
    return None if value < 0 else float(value)
