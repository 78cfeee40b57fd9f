"""How much COCO's numbers depend on which images happen to be in the data set: bootstrap over images.

The images are drawn anew many times, each as often as chance has it, and the numbers computed for each draw. hotcoco
has such intervals too, but its draws contain an image once at most, which makes them a quarter too narrow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import hotcoco
import numpy as np
import numpy.typing as npt

from paa.evaluation.metrics import Evaluation

CONFIDENCE = 0.95
_SIZES = {"": 0, "s": 1, "m": 2, "l": 3}
"""The endings of COCO's names, and the positions of their size ranges in COCO's parameters."""
_FIRST = (1, 10)
"""Detections of an image and class that count in AR1 and AR10."""
_AT_ONCE = 1 << 20  # numbers in memory at a time

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Resamples:
    """The numbers of R draws of the images, 0..1, NaN where a draw has no objects to find.

    measures: R values of each of COCO's numbers, by name. class_ap, class_ap50 (R, C).
    """

    measures: dict[str, Floats]
    class_ap: Floats
    class_ap50: Floats

    def __sub__(self, other: Resamples) -> Resamples:
        """Return the differences, draw by draw; both must be of the same draws."""
        return Resamples(
            {name: values - other.measures[name] for name, values in self.measures.items()},
            self.class_ap - other.class_ap,
            self.class_ap50 - other.class_ap50,
        )


def draw(images: int, times: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """Return how often each image is in each draw of as many images, with replacement: (times, images)."""
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=times)


def resample(evaluation: Evaluation, draws: npt.NDArray[np.int64]) -> Resamples:
    """Return the numbers of each draw. draws (R, I): how often each image of the evaluation's index counts.

    A detection stays matched as it was: matching looks at one image at a time. Equal numbers of draws (1, ..., 1) are
    COCO's numbers.
    """
    measures: dict[str, Floats] = {}
    limit = evaluation.run.params.max_dets[-1]
    for ending, position in _SIZES.items():
        verdicts = np.stack(list(_verdicts(evaluation, position)))
        ap, recall = _by_class(evaluation, position, verdicts, draws)
        measures[f"AP{ending}"] = _mean(ap.mean(2))
        measures[f"AR{ending or limit}"] = _mean(recall)
        if not ending:
            of_all = ap
            for most in _FIRST:
                measures[f"AR{most}"] = _mean(_recall_of_first(evaluation, most, verdicts, draws))
    measures |= {"AP50": _mean(of_all[..., 0]), "AP75": _mean(of_all[..., 5])}
    names = [name for name in evaluation.metrics.summary if name in measures]
    return Resamples({name: measures[name] for name in names}, of_all.mean(2), of_all[..., 0])


def interval(values: Floats) -> Interval | None:
    """Return the bounds of the middle `CONFIDENCE` of the values (R,); None where fewer than half are defined."""
    defined = values[~np.isnan(values)]
    if 2 * len(defined) <= len(values):
        return None
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(defined, [tail, 100 - tail])
    return float(low), float(high)


def _by_class(
    evaluation: Evaluation, size: int, verdicts: npt.NDArray[np.int8], draws: npt.NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Return the AP (R, C, 10) of each draw, class and IoU, and the mean recall (R, C), for one of COCO's sizes.

    verdicts (10, N): on each detection at each IoU, for objects of that size.
    """
    index, table, params = evaluation.index, evaluation.table, evaluation.run.params
    counts = _to_find(evaluation, size)
    image_of = np.repeat(np.arange(len(index)), np.diff(index.offsets))[counts]
    order = np.lexsort((table.image, -table.scores, table.labels))  # each class best first, ties by image as in COCO
    bounds = np.searchsorted(table.labels[order], np.arange(len(index.names) + 1))
    recalls = np.array(params.rec_thrs)
    ap = np.full((len(draws), len(index.names), len(verdicts)), np.nan)
    recall = np.full((len(draws), len(index.names)), np.nan)
    for label in range(len(index.names)):
        rows = order[bounds[label] : bounds[label + 1]]
        objects = np.bincount(image_of[index.labels[counts] == label], minlength=len(index))
        if not objects.any():
            continue
        step = max(1, _AT_ONCE // max(1, len(rows)))
        for start in range(0, len(draws), step):
            part = slice(start, start + step)
            # detections first: sums along them are then sums of whole rows of memory, which take a third of the time
            weights = draws[part].T.astype(np.int32)[table.image[rows]]
            to_find = (draws[part] @ objects).astype(np.float64)
            to_find[to_find == 0] = np.nan
            averages = [_average(weights, verdict[rows], to_find, recalls) for verdict in verdicts]
            ap[part, label] = np.stack([average for average, _ in averages], 1)
            recall[part, label] = np.mean([last for _, last in averages], axis=0)
    return ap, recall


def _recall_of_first(
    evaluation: Evaluation, most: int, verdicts: npt.NDArray[np.int8], draws: npt.NDArray[np.int64]
) -> Floats:
    """Return the mean recall (R, C) where only the first `most` detections of each image and class count.

    verdicts (10, N): on each detection at each IoU. As in COCO, detections are matched before the others are left out.
    """
    index, table = evaluation.index, evaluation.table
    order = np.lexsort((-table.scores, table.image, table.labels))  # of equal scores, the earlier detection comes first
    image, label = table.image[order], table.labels[order]
    starts = np.ones(len(order), bool)
    starts[1:] = (image[1:] != image[:-1]) | (label[1:] != label[:-1])
    place = np.arange(len(order))
    rank = place - np.maximum.accumulate(np.where(starts, place, 0))
    rows = order[rank < most]
    found, objects = np.zeros((2, len(index), len(index.names)))
    np.add.at(found, (table.image[rows], table.labels[rows]), (verdicts[:, rows] == 1).mean(0))
    counts = _to_find(evaluation, 0)
    np.add.at(objects, (np.repeat(np.arange(len(index)), np.diff(index.offsets))[counts], index.labels[counts]), 1)
    to_find = draws @ objects
    to_find[to_find == 0] = np.nan
    recall: Floats = (draws @ found) / to_find
    return recall


def _to_find(evaluation: Evaluation, size: int) -> npt.NDArray[np.bool_]:
    """Return which objects of the index (A,) are to be found, for one of COCO's sizes."""
    index, (low, high) = evaluation.index, evaluation.run.params.area_rng[size]
    wanted: npt.NDArray[np.bool_] = ~index.crowd & (index.areas >= low) & (index.areas <= high)
    return wanted


def _average(
    weights: npt.NDArray[np.int32], verdicts: npt.NDArray[np.int8], objects: Floats, recalls: Floats
) -> tuple[Floats, Floats]:
    """Return the AP and the final recall (R,) of one class at one IoU.

    weights (n, R): how often each detection counts, best first. verdicts (n,): as `Evaluation.verdicts`. objects (R,):
    to find; NaN for none. recalls (101,): COCO's, at each of which the best precision from there on counts.
    """
    counts = verdicts >= 0
    right = verdicts[counts] == 1
    nothing = np.where(np.isnan(objects), np.nan, 0.0)
    if not right.any():
        return nothing, nothing
    if not counts.all():
        weights = weights[counts]
    found = np.cumsum(weights[right], axis=0, dtype=np.int32)
    seen = np.cumsum(weights, axis=0, dtype=np.int32)[right]
    # the best precision from a recall on is that after a right detection: the wrong ones between need no value
    precision = found / (seen + np.spacing(1.0))
    best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    recall = found / objects
    # how many of COCO's recalls 0.00, 0.01, ... are reached; 0.28, say, is a little more than 7 / 25
    passed = np.nan_to_num(recall * (len(recalls) - 1) + 1e-9).astype(np.int32)
    reached = passed + (recalls[passed] <= recall)
    ap = (best * np.diff(reached, axis=0, prepend=0)).sum(0) / len(recalls)
    return ap + nothing, recall[-1]


def _verdicts(evaluation: Evaluation, size: int) -> Iterator[npt.NDArray[np.int8]]:
    """Yield the verdict on each detection at each of COCO's IoUs, for objects of one of its sizes."""
    params = evaluation.run.params
    run = hotcoco.COCOeval(evaluation.run.coco_gt, evaluation.run.coco_dt, "bbox")
    run.params.max_dets = params.max_dets
    run.params.area_rng = [params.area_rng[size]]
    run.params.area_rng_lbl = ["all"]
    run.evaluate()
    of_size = Evaluation(evaluation.index, evaluation.table, evaluation.metrics, run)
    return (of_size.verdicts(iou) for iou in params.iou_thrs)


def _mean(of_classes: Floats) -> Floats:
    """Return the mean (R,) over classes (R, C) that are defined; NaN where none is."""
    defined = ~np.isnan(of_classes)
    mean: Floats = np.where(defined, of_classes, 0.0).sum(1) / np.where(defined.any(1), defined.sum(1), np.nan)
    return mean
