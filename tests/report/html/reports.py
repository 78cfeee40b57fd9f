"""Reports on evaluations of drawn shapes, for the tests of the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from paa.data.index import DatasetIndex
from paa.data.read import read_dataset
from paa.evaluation.analysis import analyse
from paa.evaluation.comparison import compare
from paa.evaluation.dataset import EvaluatedDataset
from paa.evaluation.metrics import evaluate
from paa.inference.table import DetectionTable
from paa.report.evaluation_report import EvaluationReport


def near_truth(index: DatasetIndex, seed: int = 0) -> DetectionTable:
    """Return detections near the objects, some twice, some of another class, those near to them with higher scores."""
    random = np.random.default_rng(seed)
    rows = np.tile(np.arange(len(index.labels)), 2)
    images = np.repeat(np.arange(len(index)), np.diff(index.offsets))[rows]
    spread = random.choice([1.0, 3.0, 12.0], (len(rows), 1))
    boxes = index.boxes[rows] + (random.normal(0, 1, (len(rows), 4)) * spread).astype(np.float32)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    labels = np.where(random.random(len(rows)) < 0.8, index.labels[rows], 3)
    scores = np.clip(0.9 - spread[:, 0] / 20 + random.normal(0, 0.1, len(rows)), 0.05, 0.99)
    return DetectionTable(images, boxes, scores.astype(np.float32), labels)


def shapes_index(folder: Path, names: tuple[str, ...] | None = None) -> DatasetIndex:
    """Return the training images of drawn shapes; names: other names for their classes."""
    index = read_dataset(folder)
    return index if names is None else replace(index, names=names)


def make_report(
    index: DatasetIndex, table: DetectionTable, other: DetectionTable | None = None, what: str = "runs/a/best.pt"
) -> EvaluationReport:
    """Return the report on detections, compared with others if these are given."""
    evaluated = EvaluatedDataset(index, table, evaluate(index, table), [])
    against = None if other is None else "runs/b/best.pt"
    comparison = None if other is None else compare(evaluated.evaluation, evaluate(index, other), 50)
    return EvaluationReport(what, str(index.root), evaluated, analyse(evaluated, 50), against, comparison)
