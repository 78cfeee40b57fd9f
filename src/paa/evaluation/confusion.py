"""Which classes are taken for which: the confusion matrix of the detections at the operating points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from paa.evaluation.chosen_detections import on_crowds_alone
from paa.evaluation.metrics import Evaluation, evaluate

BACKGROUND = "(none)"


@dataclass(frozen=True)
class Confusion:
    """What the objects of each class were found as, at IoU 0.5.

    names: of C classes. counts (C + 1, C + 1): int64, rows the annotated classes, columns the detected ones. The last
    row counts detections without an object, the last column objects that were not found.
    """

    names: tuple[str, ...]
    counts: npt.NDArray[np.int64]

    def mistakes(self) -> list[tuple[str, str, int]]:
        """Return (annotated class, detected class, count) of each mistake, the most frequent first."""
        names = (*self.names, BACKGROUND)
        found = [
            (names[row], names[column], int(self.counts[row, column]))
            for row, column in zip(*np.nonzero(self.counts))
            if row != column
        ]
        return sorted(found, key=lambda mistake: -mistake[2])


def confusion(chosen: Evaluation) -> Confusion:
    """Return the confusion matrix. chosen: the detections that count, as `at_operating_points` returns them.

    A detection goes to the object that it overlaps most, of whatever class; the best detection first. Detections on
    crowds and on difficult objects, of whatever class, do not count.
    """
    every = max(1, len(chosen.table))  # hotcoco's default limit is for all classes of an image together
    counted = (chosen.verdicts(0.5) >= 0) & ~on_crowds_alone(chosen)  # its matrix knows no crowds
    if not counted.all():
        limit = chosen.run.params.max_dets[-1]
        chosen = evaluate(chosen.index, chosen.table.select(counted), max_detections=limit)
    counts = chosen.run.confusion_matrix(max_det=every)["matrix"].astype(np.int64)
    return Confusion(chosen.index.names, counts)
