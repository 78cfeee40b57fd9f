"""Which detections are right: COCO's greedy matching of a whole data set, at many IoU thresholds and sizes at once.

A verdict is a bit. With S size ranges and T thresholds, bit s * T + t of an int64 belongs to size range s and threshold
t, so one operation on one number takes a pair of boxes a step further under all of them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from paa.data.index import DatasetIndex
from paa.evaluation.coco_results import evaluated, xywh
from paa.inference.table import DetectionTable

COCO_IOUS = tuple(np.linspace(0.5, 0.95, 10).tolist())
ALL_SIZES = (0.0, 1e10)
COCO_SIZES = (ALL_SIZES, (0.0, 32.0**2), (32.0**2, 96.0**2), (96.0**2, 1e10))
MAX_DETECTIONS = 100
CHUNK = 1 << 16  # pairs whose IoU is taken at a time: they fit a CPU's cache


@dataclass(frozen=True)
class Matches:
    """The verdict on N detections, by class, then best first; of equals the one of the lower image id.

    scores (N,), labels (N,): of the best detections of each image and class, COCO's 100 by default. rank (N,): place
    among these, from 0.
    right (N,), ignored (N,): int64, bits: it has found an object; it is neither right nor wrong, since it lies on a
    crowd or on an object of another size, or on none and is itself of another size.
    objects (S, C): int64, how many there are to find of each size and class.
    """

    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    rank: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    ignored: npt.NDArray[np.int64]
    objects: npt.NDArray[np.int64]

    def verdict(self, bit: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Return right (N,) and ignored (N,) for size range and threshold `bit` = s * T + t."""
        return (self.right & 1 << bit) != 0, (self.ignored & 1 << bit) != 0


@dataclass(frozen=True)
class _Pairs:
    """P pairs of a detection and a ground truth of the same image and class, as rows. iou (P,): float64."""

    detection: npt.NDArray[np.int64]
    gt: npt.NDArray[np.int64]
    iou: npt.NDArray[np.float64]

    def select(self, rows: npt.NDArray[np.int64]) -> _Pairs:
        return _Pairs(self.detection[rows], self.gt[rows], self.iou[rows])


def match(
    index: DatasetIndex,
    table: DetectionTable,
    *,
    ious: tuple[float, ...] = COCO_IOUS,
    sizes: tuple[tuple[float, float], ...] = (ALL_SIZES,),
    images: npt.NDArray[np.int64] | None = None,
    most: int = MAX_DETECTIONS,
) -> Matches:
    """Match detections to ground truths, the best detection first, each to the free object of highest IoU.

    ious: T thresholds. sizes: S ranges of area in square pixels, both ends included. images: the positions evaluated
    (default: all). most: how many detections of each image and class count, the best. Raises as
    `paa.evaluation.metrics.evaluate`; ValueError for more than 63 ranges x thresholds.
    """
    if len(sizes) * len(ious) > 63:
        raise ValueError(f"{len(sizes)} size ranges x {len(ious)} thresholds are more than the 63 bits of a verdict")
    index, table = evaluated(index, table, images)
    classes = len(index.names)
    group = table.image * classes + table.labels
    order = np.lexsort((group, -table.scores, table.labels))
    rank = _rank(group[order])
    order, rank = order[rank < most], rank[rank < most]
    table, group = table.select(order), group[order]

    gt_group = np.repeat(np.arange(len(index)), np.diff(index.offsets)) * classes + index.labels
    gt_order = np.argsort(gt_group, kind="stable")
    gt_labels, crowd = index.labels[gt_order], index.crowd[gt_order]
    thresholds = np.minimum(np.array(ious), 1 - 1e-10)  # as pycocotools has it
    pairs = _pair(group, gt_group[gt_order], table.boxes, index.boxes[gt_order], crowd, thresholds.min(initial=np.inf))

    every = (1 << len(ious)) - 1  # the thresholds' bits of one size range
    wanted = np.where(crowd, 0, _sizes_of(index.areas[gt_order].astype(np.float64), sizes, len(ious)) * every)
    sides = xywh(table.boxes)[:, 2:]
    inside = _sizes_of(sides[:, 0] * sides[:, 1], sizes, len(ious)) * every
    right, on_ignored = _greedy(pairs, rank, thresholds, wanted, crowd, len(sizes))
    return Matches(
        scores=table.scores,
        labels=table.labels,
        rank=rank,
        right=right,
        ignored=on_ignored | ~(inside | right),
        objects=np.stack(
            [np.bincount(gt_labels[(wanted & 1 << s * len(ious)) != 0], minlength=classes) for s in range(len(sizes))]
        ),
    )


def _sizes_of(
    areas: npt.NDArray[np.float64], sizes: tuple[tuple[float, float], ...], step: int
) -> npt.NDArray[np.int64]:
    """Return bits (n,): s * step is set if the area (n,) lies in size range s."""
    bits = np.zeros(len(areas), np.int64)
    for s, (low, high) in enumerate(sizes):
        bits |= ((low <= areas) & (areas <= high)).astype(np.int64) << s * step
    return bits


def _rank(key: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return each row's place among the rows of its key, from 0."""
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    rank = np.empty_like(order)
    rank[order] = np.arange(len(key)) - np.searchsorted(ordered, ordered)
    return rank


def _pair(
    group: npt.NDArray[np.int64],
    gt_group: npt.NDArray[np.int64],
    boxes: npt.NDArray[np.float32],
    gt_boxes: npt.NDArray[np.float32],
    crowd: npt.NDArray[np.bool_],
    least: float,
) -> _Pairs:
    """Return every pair of a detection and a ground truth of the same group with an IoU of at least `least`.

    gt_group: ascending. Only `CHUNK` pairs, and those that are returned, are held at a time.
    """
    first = np.searchsorted(gt_group, group)
    count = np.searchsorted(gt_group, group, side="right") - first
    ends = np.cumsum(count)
    cuts = np.searchsorted(ends, np.arange(0, ends[-1:].sum() + 1, CHUNK))
    parts = []
    for start, end in itertools.pairwise([*cuts.tolist(), len(group)]):
        n = count[start:end]
        detection = np.repeat(np.arange(start, end), n)
        gt = np.arange(len(detection)) + np.repeat(first[start:end] + n - np.cumsum(n), n)
        iou = _iou(boxes[detection], gt_boxes[gt], crowd[gt])
        near = iou >= least
        parts.append((detection[near], gt[near], iou[near]))
    return _Pairs(*(np.concatenate(column) for column in zip(*parts)))


def _iou(
    boxes: npt.NDArray[np.float32], gt_boxes: npt.NDArray[np.float32], crowd: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Return the IoU of each pair (n,); with a crowd, the part of the detection that the crowd covers.

    Operation for operation what pycocotools' `bbIou` does, so that no threshold decides otherwise in the last bit.
    """
    (x, y, w, h), (gt_x, gt_y, gt_w, gt_h) = xywh(boxes).T, xywh(gt_boxes).T
    shared_w = np.minimum(w + x, gt_w + gt_x) - np.maximum(x, gt_x)
    shared_h = np.minimum(h + y, gt_h + gt_y) - np.maximum(y, gt_y)
    shared = shared_w * shared_h
    union = np.where(crowd, w * h, w * h + gt_w * gt_h - shared)
    iou: npt.NDArray[np.float64] = np.zeros_like(shared)
    np.divide(shared, union, out=iou, where=(shared_w > 0) & (shared_h > 0))
    return iou


def _greedy(
    pairs: _Pairs,
    rank: npt.NDArray[np.int64],
    thresholds: npt.NDArray[np.float64],
    wanted: npt.NDArray[np.int64],
    crowd: npt.NDArray[np.bool_],
    sizes: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return bits (N,), (N,): which detections find a wanted ground truth, which only find another.

    wanted (G,): bits, the ground truths to be found; the others are taken only by who finds no wanted one.

    A detection tries its pairs in turn: the wanted, best IoU first, of equals the later; then the others likewise.
    Detections of the same rank belong to different images or classes and cannot compete: one round lets all of them
    try their next pair.
    """
    pairs = pairs.select(np.lexsort((-pairs.gt, -pairs.iou, pairs.detection)))
    passed = np.zeros(len(pairs.iou), np.int64)
    for bit, threshold in enumerate(thresholds):
        passed |= (pairs.iou >= threshold).astype(np.int64) << bit
    # the thresholds' bits, once for each size range
    passed *= sum(1 << s * len(thresholds) for s in range(sizes))
    turn = _rank(pairs.detection)
    turns = turn.max(initial=0) + 1

    verdicts = (np.zeros(len(rank), np.int64), np.zeros(len(rank), np.int64))
    taken = np.zeros(len(wanted), np.int64)
    tries = []
    for which, bits in enumerate((passed & wanted[pairs.gt], passed & ~wanted[pairs.gt])):
        rows = np.flatnonzero(bits)
        tries.append(((rank[pairs.detection[rows]] * 2 + which) * turns + turn[rows], rows, bits[rows]))
    rounds, rows, bits = (np.concatenate(column) for column in zip(*tries))
    order = np.argsort(rounds, kind="stable")
    rounds, rows, bits = rounds[order], rows[order], bits[order]
    starts = np.flatnonzero(np.diff(rounds, prepend=-1))
    for start, end in itertools.pairwise([*starts.tolist(), len(rounds)]):
        detection, gt = pairs.detection[rows[start:end]], pairs.gt[rows[start:end]]
        found = bits[start:end] & ~(verdicts[0][detection] | verdicts[1][detection] | taken[gt])
        verdicts[rounds[start] // turns % 2][detection] |= found
        taken[gt] |= np.where(crowd[gt], 0, found)
    return verdicts
