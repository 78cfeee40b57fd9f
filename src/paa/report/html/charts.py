"""The geometry of a report's charts: what the templates draw as SVG, in units of about a pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paa.evaluation.calibration import Calibration
from paa.evaluation.comparison import Difference
from paa.evaluation.confusion import Confusion
from paa.evaluation.dataset import EvaluatedDataset
from paa.evaluation.operating_point import ClassCurve, OperatingPoint, envelope
from paa.evaluation.predicted_iou import PredictedIou

_STEPS = 200  # most steps of a curve
_MOST_CLASSES = 24  # of a confusion matrix


@dataclass(frozen=True)
class Plot:
    """A rectangle of a drawing, in which values from 0 to 1 are shown, upwards and to the right."""

    width: float = 280
    height: float = 220
    left: float = 34
    right: float = 266
    top: float = 8
    bottom: float = 184

    def x(self, value: float) -> float:
        """Return where a value from 0 to 1 lies, from the left."""
        return round(self.left + (self.right - self.left) * value, 2)

    def y(self, value: float) -> float:
        """Return where a value from 0 to 1 lies, from the top."""
        return round(self.bottom + (self.top - self.bottom) * value, 2)


PLOT = Plot()
COLUMNS = Plot(width=420, left=8, right=412, top=18, bottom=196)


def curve_path(curve: ClassCurve, plot: Plot = PLOT) -> str:
    """Return the best precision at each recall or a higher one, as the steps of an SVG path; empty without any."""
    if not len(curve.recall):
        return ""
    best = envelope(curve.precision)
    recall = np.minimum(np.ceil(curve.recall * _STEPS) / _STEPS, curve.recall[-1])
    # of each step of recall the best precision, which is the first one
    steps, first = np.unique(recall, return_index=True)
    heights = [plot.y(value) for value in best[first].tolist()]
    path = f"M{plot.x(0)} {heights[0]}"
    for end, height, following in zip(steps.tolist(), heights, [*heights[1:], plot.y(0)]):
        if following != height:
            path += f"H{plot.x(end)}V{following}"
    return path


@dataclass(frozen=True)
class Curve:
    """A class's precision-recall curve: its path, the path around the area under it, and its operating point."""

    name: str
    objects: int
    ap50: float | None
    path: str
    area: str
    point: OperatingPoint | None


def curves(evaluated: EvaluatedDataset, most: int, plot: Plot = PLOT) -> list[Curve]:
    """Return the curves of the classes with objects, those with the most objects first, and at most so many."""
    made = []
    for curve, metrics in zip(evaluated.curves, evaluated.metrics.classes):
        path = curve_path(curve, plot)
        area = f"{path}H{plot.x(0)}Z" if path else ""
        made.append(Curve(curve.name, curve.objects, metrics.ap50, path, area, curve.point))
    return sorted((curve for curve in made if curve.objects), key=lambda curve: -curve.objects)[:most]


@dataclass(frozen=True)
class Column:
    """A column of a bar chart: its place, the texts below and above it, and what the pointer shows."""

    x: float
    y: float
    width: float
    height: float
    label: str
    value: str
    title: str


def columns(bars: Sequence[tuple[str, float, str, str]], plot: Plot) -> list[Column]:
    """Return the columns of bars, each its label, its height (any number >= 0), the text above it and its title."""
    step = (plot.right - plot.left) / max(len(bars), 1)
    largest = max((height for _, height, _, _ in bars), default=0) or 1
    made = []
    for i, (label, height, value, title) in enumerate(bars):
        top = plot.y(height / largest)
        left = round(plot.left + step * (i + 0.12), 2)
        made.append(Column(left, top, round(step * 0.76, 2), round(plot.bottom - top, 2), label, value, title))
    return made


@dataclass(frozen=True)
class Dot:
    """A bin of a calibration chart: its mean prediction and what is true, and its radius by how much is in it."""

    x: float
    y: float
    radius: float
    title: str


def _radius(share: float) -> float:
    """Return the radius of the dot of a bin, whose area grows with its count; share: of the largest bin's, 0..1."""
    return round(2.5 + 6 * math.sqrt(share), 2)


def calibration_dots(calibration: Calibration, plot: Plot = PLOT) -> list[Dot]:
    """Return the bins that have detections; the area of a dot grows with their number."""
    most = max(one.count for one in calibration.bins)
    return [
        Dot(
            plot.x(one.score),
            plot.y(one.right),
            _radius(one.count / most),
            f"scores {one.low:.1f} to {one.high:.1f}: {one.count} detections, mean score {100 * one.score:.1f} %, "
            f"{100 * one.right:.1f} % right",
        )
        for one in calibration.bins
        if one.count
    ]


def iou_dots(predicted: PredictedIou, plot: Plot = PLOT) -> list[Dot]:
    """Return the bins of predicted IoUs that have boxes; the area of a dot grows with their number."""
    most = max(one.count for one in predicted.bins)
    return [
        Dot(
            plot.x(one.predicted),
            plot.y(one.true),
            _radius(one.count / most),
            f"predicted {one.low:.1f} to {one.high:.1f}: {one.count} boxes, mean predicted {one.predicted:.2f}, "
            f"true {one.true:.2f}",
        )
        for one in predicted.bins
        if one.count
    ]


@dataclass(frozen=True)
class Cell:
    """A cell of a confusion matrix: its row and column, its count, and its share of the row, 0..1."""

    row: int
    column: int
    count: int
    share: float
    title: str


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix. names: of its rows and columns; the last stands for nothing. left_out: classes not shown."""

    names: list[str]
    cells: list[Cell]
    left_out: int


def matrix(confusion: Confusion) -> Matrix:
    """Return the confusion matrix of the classes that are taken for others most often, in the order of the labels."""
    counts = confusion.counts
    used = np.flatnonzero(counts[:-1].sum(1) + counts[:, :-1].sum(0))
    mistakes = counts.sum(0) + counts.sum(1) - 2 * counts.diagonal()
    shown = np.sort(used[np.argsort(-mistakes[used], kind="stable")][:_MOST_CLASSES])
    places = [*shown.tolist(), len(counts) - 1]
    names = [*(confusion.names[label] for label in shown), "nothing"]
    cells = []
    for row, i in enumerate(places):
        total = int(counts[i].sum())
        for column, j in enumerate(places):
            if count := int(counts[i, j]):
                of = f"{total} of {names[row]}" if row < len(shown) else f"{total} detections without an object"
                title = f"{count} of {of}: found as {names[column]}"
                cells.append(Cell(row, column, count, count / total, title))
    return Matrix(names, cells, len(used) - len(shown))


@dataclass(frozen=True)
class Whisker:
    """A line of a chart of differences: an interval, its difference, and the verdict."""

    name: str
    low: float
    high: float
    x: float
    verdict: str
    title: str


@dataclass(frozen=True)
class Whiskers:
    """A chart of differences. zero: where no difference lies. ticks: places and texts of round differences."""

    zero: float
    rows: list[Whisker]
    ticks: list[tuple[float, str]]


def whiskers(differences: Sequence[Difference], left: float = 104, right: float = 396) -> Whiskers | None:
    """Return the chart of the differences that have an interval; None where none has."""
    shown = [(one, one.difference, one.interval) for one in differences]
    defined = [(one, change, bounds) for one, change, bounds in shown if change is not None and bounds is not None]
    if not defined:
        return None
    largest = max(0.005, *(max(abs(change), *map(abs, bounds)) for _, change, bounds in defined))
    middle, scale = (left + right) / 2, (right - left) / 2 / largest

    def place(value: float) -> float:
        return round(middle + scale * value, 2)

    rows = [
        Whisker(
            one.name,
            place(bounds[0]),
            place(bounds[1]),
            place(change),
            one.verdict,
            f"{one.name}: {100 * change:+.1f}, 95 % interval {100 * bounds[0]:+.1f} to {100 * bounds[1]:+.1f}",
        )
        for one, change, bounds in defined
    ]
    ends = [-largest, -largest / 2, 0.0, largest / 2, largest]
    return Whiskers(middle, rows, [(place(value), f"{100 * value:+.1f}" if value else "0") for value in ends])
