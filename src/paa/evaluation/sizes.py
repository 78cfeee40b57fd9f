"""AP by the size of objects, in ranges that double: finer than COCO's small, medium and large."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import hotcoco
import numpy as np

from paa.evaluation.metrics import Evaluation, defined

_EDGES = (0.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1e5)


@dataclass(frozen=True)
class SizeMetrics:
    """The numbers of objects of one range of sizes: sides, the square root of the area, from `low` to below `high`.

    objects: to find, without crowds. ap, ap50, recall (at IoU 0.5, over all detections): 0..1, means of the classes
    that have objects of these sizes. classes: the AP of each class, by label; None without objects.
    """

    low: float
    high: float
    objects: int
    ap: float | None
    ap50: float | None
    recall: float | None
    classes: tuple[float | None, ...]

    @property
    def name(self) -> str:
        """Return the range as text, in pixels."""
        if self.high == _EDGES[-1]:
            return f"from {self.low:.0f}"
        return f"{self.low:.0f} to {self.high:.0f}"


def ap_by_size(evaluation: Evaluation) -> tuple[SizeMetrics, ...]:
    """Return the numbers of each range of sizes that has objects, smallest first.

    As in COCO, an object outside the range and the detections on it do not count, nor do wrong detections of a size
    outside.
    """
    run = hotcoco.COCOeval(evaluation.run.coco_gt, evaluation.run.coco_dt, "bbox")
    run.params.max_dets = evaluation.run.params.max_dets
    # COCO's ranges include both ends
    ranges = [[low**2, float(np.nextafter(high**2, 0))] for low, high in pairwise(_EDGES)]
    run.params.area_rng = ranges
    run.params.area_rng_lbl = [f"{low:.0f}" for low in _EDGES[:-1]]
    run.evaluate()
    run.accumulate()
    assert run.eval is not None
    precision, recall = run.eval["precision"][..., -1], run.eval["recall"][..., -1]
    areas = evaluation.index.areas[~evaluation.index.crowd]
    found = []
    for i, (low, high) in enumerate(pairwise(_EDGES)):
        objects = int(((areas >= low**2) & (areas < high**2)).sum())
        if not objects:
            continue
        aps = precision[:, :, :, i].mean(axis=(0, 1))
        has = aps >= 0
        found.append(
            SizeMetrics(
                low,
                high,
                objects,
                ap=float(aps[has].mean()),
                ap50=float(precision[0, :, has, i].mean()),
                recall=float(recall[0, has, i].mean()),
                classes=tuple(map(defined, aps.tolist())),
            )
        )
    return tuple(found)
