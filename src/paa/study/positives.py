"""How many positives a rule gives to objects of which size, and on which level, while a run trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from paa.core.anchors import level_of
from paa.core.assignment import Assignment
from paa.core.outputs import HeadOutputs
from paa.data.batch import Batch
from paa.training.records import Record

EDGES = (16.0, 32.0, 64.0, 128.0)
SIZES = ("below 16", "16 to 32", "32 to 64", "64 to 128", "from 128")
"""Sizes of objects: the root of the area, in pixels of the images as they are trained on."""


class PositiveCounter:
    """Counts a run's positives while it trains: every batch adds to a table, and each record of the log ends one.

    `add` is for `train`'s `on_assignment`; `listen` is called with the records of the log, and appends a line to the
    file for each record of a training step: {"step", "objects": [of each size], "without": [those without a positive],
    "positives": [size][level]}, sums over the steps since the record before.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._sums: tuple[Tensor, Tensor, Tensor] | None = None

    def add(self, batch: Batch, outputs: HeadOutputs, assignment: Assignment) -> None:
        """Count the positives of images that were trained on."""
        counts, sums = count(assignment, outputs, batch.gt_boxes, batch.gt_labels), self._sums
        self._sums = counts if sums is None else (sums[0] + counts[0], sums[1] + counts[1], sums[2] + counts[2])

    def listen(self, record: Record) -> None:
        """Write down what was counted up to a record of the log."""
        if "loss" not in record or self._sums is None:
            return
        objects, without, positives = (each.tolist() for each in self._sums)
        line = {"step": record["step"], "objects": objects, "without": without, "positives": positives}
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self._sums = None


@torch.no_grad()
def count(
    assignment: Assignment, outputs: HeadOutputs, gt_boxes: Tensor, gt_labels: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return, for each size of `SIZES`, the objects, those without a positive, and the positives by level.

    gt_boxes (B, G, 4), gt_labels (B, G), -1 in an empty slot. Returns int64 (sizes,), (sizes,), (sizes, levels).
    """
    sides = (gt_boxes[..., 2:] - gt_boxes[..., :2]).clamp(min=0).prod(-1).sqrt()
    size = torch.bucketize(sides, torch.tensor(EDGES, device=sides.device), right=True)
    levels = len(outputs.level_sizes)
    cell = size[..., None] * levels + level_of(assignment.anchors, outputs.level_starts())
    real = gt_labels >= 0
    objects = _sums(size, real, len(SIZES))
    without = _sums(size, real & (assignment.num_positives == 0), len(SIZES))
    return objects, without, _sums(cell, assignment.is_positive(), len(SIZES) * levels).view(-1, levels)


def _sums(place: Tensor, counted: Tensor, number: int) -> Tensor:
    zeros = torch.zeros(number, dtype=torch.int64, device=place.device)
    return zeros.scatter_add_(0, place.flatten(), counted.long().flatten())


def read_positives(file: Path) -> list[dict[str, Any]]:
    """Return the lines of a run by step; of a step that a resumed run repeated the last counts."""
    lines: dict[int, dict[str, Any]] = {}
    for text in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        try:
            line = json.loads(text)
        except ValueError:  # cut short by a power cut
            continue
        lines[line["step"]] = line
    return [lines[step] for step in sorted(lines)]
