"""Which detections are right: COCO's greedy matching, for a whole data set and many IoU thresholds at once."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from paa.data.index import DatasetIndex
from paa.engine.metrics import DetectionTable, evaluated

COCO_IOUS = tuple(np.linspace(0.5, 0.95, 10).tolist())
MAX_DETECTIONS = 100


@dataclass(frozen=True)
class Matches:
    """The verdict on N detections at T IoU thresholds, in COCO's order: by image id, then best first.

    scores (N,), labels (N,): of the best 100 detections of each picture and class.
    right (T, N): bool, it has found an object. ignored (T, N): bool, it lies on a crowd: neither right nor wrong.
    objects (C,): int64, how many there are to find of each class.
    """

    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    right: npt.NDArray[np.bool_]
    ignored: npt.NDArray[np.bool_]
    objects: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Pairs:
    """P pairs of a detection and a ground truth of the same picture and class, as rows. iou (P,): float64."""

    detection: npt.NDArray[np.int64]
    gt: npt.NDArray[np.int64]
    iou: npt.NDArray[np.float64]

    def select(self, keep: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> _Pairs:
        return _Pairs(self.detection[keep], self.gt[keep], self.iou[keep])


def match(
    index: DatasetIndex,
    table: DetectionTable,
    *,
    ious: tuple[float, ...] = COCO_IOUS,
    images: npt.NDArray[np.int64] | None = None,
) -> Matches:
    """Match detections to ground truths, the best detection first, each to the free object of highest IoU.

    ious: T thresholds. images: the positions evaluated (default: all). Raises as `paa.engine.metrics.evaluate`.
    """
    chosen = np.arange(len(index)) if images is None else np.unique(images)
    chosen = chosen[np.argsort(index.image_ids[chosen], kind="stable")]
    place = np.full(len(index), -1)
    place[chosen] = np.arange(len(chosen))
    index, table = index.select(chosen), evaluated(index, table, images)

    classes = len(index.names)
    group = place[table.image] * classes + table.labels
    order = np.lexsort((-table.scores, group))
    rank = _rank(group[order])
    order, rank = order[rank < MAX_DETECTIONS], rank[rank < MAX_DETECTIONS]
    table, group = table.select(order), group[order]

    gt_group = np.repeat(np.arange(len(index)), np.diff(index.offsets)) * classes + index.labels
    pairs = _pair(group, gt_group, table.boxes, index.boxes, index.crowd)
    thresholds = np.minimum(np.array(ious), 1 - 1e-10)[:, None]
    on_crowd = index.crowd[pairs.gt]
    crowd_iou = np.zeros(len(table))
    np.maximum.at(crowd_iou, pairs.detection[on_crowd], pairs.iou[on_crowd])
    right = _greedy(pairs.select(~on_crowd & (pairs.iou >= thresholds.min())), rank, thresholds, len(index.labels))
    return Matches(
        scores=table.scores,
        labels=table.labels,
        right=right,
        ignored=~right & (crowd_iou >= thresholds),
        objects=np.bincount(index.labels[~index.crowd], minlength=classes),
    )


def _rank(group: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return each row's place within its group, from 0; equal groups stand together."""
    return np.arange(len(group)) - np.searchsorted(group, group)


def _pair(
    group: npt.NDArray[np.int64],
    gt_group: npt.NDArray[np.int64],
    boxes: npt.NDArray[np.float32],
    gt_boxes: npt.NDArray[np.float32],
    crowd: npt.NDArray[np.bool_],
) -> _Pairs:
    """Return every overlapping pair of a detection and a ground truth of the same group.

    The IoU with a crowd is the part of the detection that the crowd covers.
    """
    gt_order = np.argsort(gt_group, kind="stable")
    first = np.searchsorted(gt_group[gt_order], group)
    count = np.searchsorted(gt_group[gt_order], group, side="right") - first
    detection = np.repeat(np.arange(len(group)), count)
    gt = gt_order[np.arange(len(detection)) + np.repeat(first - np.cumsum(count) + count, count)]

    a, b = boxes.astype(np.float64)[detection], gt_boxes.astype(np.float64)[gt]
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    overlaps = (sides > 0).all(axis=1)
    a, b, detection, gt = a[overlaps], b[overlaps], detection[overlaps], gt[overlaps]
    shared = sides[overlaps].prod(axis=1)
    area, gt_area = (a[:, 2:] - a[:, :2]).prod(axis=1), (b[:, 2:] - b[:, :2]).prod(axis=1)
    return _Pairs(detection, gt, shared / np.where(crowd[gt], area, area + gt_area - shared))


def _greedy(
    pairs: _Pairs, rank: npt.NDArray[np.int64], thresholds: npt.NDArray[np.float64], objects: int
) -> npt.NDArray[np.bool_]:
    """Return which detections find an object, (T, N).

    Detections of the same rank belong to different pictures or classes and cannot compete: one step takes them all.
    """
    right = np.zeros((len(thresholds), len(rank)), dtype=bool)
    taken = np.zeros((len(thresholds), objects), dtype=bool)
    # A detection's pairs, worst first: its choice is the last that is free; of equals the later object, as COCO has it.
    pairs = pairs.select(np.lexsort((pairs.gt, pairs.iou, pairs.detection, rank[pairs.detection])))
    bounds = np.searchsorted(rank[pairs.detection], np.arange(rank.max(initial=-1) + 2))
    for start, end in itertools.pairwise(bounds.tolist()):
        if start == end:
            continue
        step = pairs.select(np.arange(start, end))
        free = (step.iou >= thresholds) & ~taken[:, step.gt]
        firsts = np.flatnonzero(np.diff(step.detection, prepend=-1))
        choice = np.maximum.reduceat(np.where(free, np.arange(end - start), -1), firsts, axis=1)
        threshold, detection = np.nonzero(choice >= 0)
        chosen = choice[threshold, detection]
        right[threshold, step.detection[chosen]] = True
        taken[threshold, step.gt[chosen]] = True
    return right
