"""The annotations that the detector does not see: objects of which no detection, however low its score, is right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from paa.core.boxes import iou
from paa.evaluation.metrics import Evaluation

_RIGHT = 0.5  # IoU from which a detection of the same class is right
_NEAR = 0.1  # IoU below which a detection is of something else


@dataclass(frozen=True)
class Unseen:
    """An annotated object that no detection of its class overlaps by IoU 0.5.

    image: position in the evaluation's index. row: of the object in that index. overlap: the highest IoU with a
    detection of any class. found: label and score of that detection; None where it overlaps by less than 0.1.
    """

    image: int
    row: int
    overlap: float
    found: tuple[int, float] | None


def unseen(evaluation: Evaluation) -> tuple[Unseen, ...]:
    """Return the objects that are not seen, among all detections: first those where nothing is, large ones before small
    ones, which are missed more easily; then those of less overlap. Crowds are left out.
    """
    index, table = evaluation.index, evaluation.table
    order = np.argsort(table.image, kind="stable")
    bounds = np.searchsorted(table.image[order], np.arange(len(index) + 1))
    missed = []
    for image in np.flatnonzero(np.diff(index.offsets)).tolist():
        objects = np.arange(index.offsets[image], index.offsets[image + 1])
        found = order[bounds[image] : bounds[image + 1]]
        boxes = torch.from_numpy(index.boxes[objects]), torch.from_numpy(table.boxes[found])
        overlaps = iou(boxes[0][:, None], boxes[1]).numpy()  # (objects, detections)
        same = index.labels[objects][:, None] == table.labels[found]
        right = (same & (overlaps >= _RIGHT)).any(1)
        for i in np.flatnonzero(~right & ~index.crowd[objects]).tolist():
            best = int(overlaps[i].argmax()) if len(found) else -1
            overlap = float(overlaps[i, best]) if len(found) else 0.0
            near = (int(table.labels[found[best]]), float(table.scores[found[best]])) if overlap >= _NEAR else None
            missed.append(Unseen(image, int(objects[i]), overlap, near))

    def doubt(one: Unseen) -> tuple[float, float]:
        return one.overlap if one.found else 0.0, -float(index.areas[one.row])

    return tuple(sorted(missed, key=doubt))
