"""The drawings of one object on the page of an assignment: its candidates on the image, and their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paa.data.images.read import read_image
from paa.data.index import DatasetIndex
from paa.errors import ImageError
from paa.explanation.histogram import Histogram, histogram
from paa.explanation.objects import ObjectAssignment
from paa.explanation.picture import level_colour, marker_radius
from paa.explanation.window import Window, window_of
from paa.report.explanation import object_names
from paa.report.html.charts import Plot
from paa.report.html.jpeg import data_uri

_SIDE, _BYTES = 320, 11_000
_FIRST_ROW, _ROW = 12, 11


@dataclass(frozen=True)
class Mark:
    """A candidate: its centre and its anchor (left, top, side), in pixels of the resized image, and its place in the
    histogram."""

    x: float
    y: float
    left: float
    top: float
    side: float
    radius: float
    level: int
    positive: bool
    score_x: float
    score_y: float
    title: str


@dataclass(frozen=True)
class Bar:
    """A bar of the histogram."""

    x: float
    y: float
    width: float
    height: float
    positive: bool


@dataclass(frozen=True)
class View:
    """An object on the page.

    box: left, top, width, height. marks: the worst candidate first, so that the best is on top. low, high: the curves
    of the Gaussians, as SVG paths.
    """

    name: str
    caption: str
    jpeg: str | None
    window: Window
    box: tuple[float, float, float, float]
    marks: list[Mark]
    plot: Plot
    bars: list[Bar]
    low: str
    high: str
    cut: float | None
    ticks: list[tuple[float, str]]
    facts: list[tuple[str, str]]


def colours(levels: int) -> list[str]:
    """Return the colour of each level, as #rrggbb."""
    return ["#{:02x}{:02x}{:02x}".format(*level_colour(level)) for level in range(levels)]


def view_of(one: ObjectAssignment, index: DatasetIndex) -> View:
    """Return the drawings of an object; without its image if that cannot be read."""
    window, levels = window_of([one]), len(one.levels)
    height = 190 + _ROW * levels + 30
    plot = Plot(width=420, height=height, left=30, right=412, top=8, bottom=190)
    shown = histogram(one)
    names = object_names(one, index)
    x1, y1, x2, y2 = one.box.astype(float).round(1).tolist()
    return View(
        name=f"{names['file']}, annotation {names['annotation']}",
        caption=f"{names['class']}, {one.size_name}: {one.positives} of {len(one.candidates)} candidates are positive",
        jpeg=_jpeg(one, window, index),
        window=window,
        box=(x1, y1, round(x2 - x1, 1), round(y2 - y1, 1)),
        marks=[] if shown is None else _marks(one, window, shown, plot),
        plot=plot,
        bars=[] if shown is None else _bars(shown, plot),
        low="" if shown is None else _curve(shown, shown.low.tolist(), plot),
        high="" if shown is None else _curve(shown, shown.high.tolist(), plot),
        cut=None if shown is None or shown.cut is None else _x(shown, shown.cut, plot),
        ticks=[] if shown is None else [(_x(shown, at, plot), f"{at:.2f}") for at in shown.ticks],
        facts=_facts(one),
    )


def _x(shown: Histogram, score: float, plot: Plot) -> float:
    return plot.x((score - shown.left) / (shown.right - shown.left))


def _marks(one: ObjectAssignment, window: Window, shown: Histogram, plot: Plot) -> list[Mark]:
    candidates, unit = one.candidates, window.width / 400
    marks = []
    for i in reversed(range(len(candidates))):
        left, top, right, bottom = candidates.anchors[i].astype(float).round(1).tolist()
        level, positive = int(candidates.levels[i]), i < one.positives
        title = (
            f"{'positive' if positive else 'negative'} on {one.levels[level].name}, score {candidates.scores[i]:.3f}; "
            f"anchor: {right - left:g} pixels, IoU {candidates.overlaps[i]:.2f}; predicted: class "
            f"{candidates.probabilities[i]:.2f}, IoU {candidates.predicted_ious[i]:.2f}, true "
            f"{candidates.true_ious[i]:.2f}"
        )
        marks.append(
            Mark(
                x=round((left + right) / 2, 1),
                y=round((top + bottom) / 2, 1),
                left=left,
                top=top,
                side=round(right - left, 1),
                radius=round(marker_radius(level) * unit, 2),
                level=level,
                positive=positive,
                score_x=_x(shown, float(candidates.scores[i]), plot),
                score_y=plot.bottom + _FIRST_ROW + _ROW * level,
                title=title,
            )
        )
    return marks


def _bars(shown: Histogram, plot: Plot) -> list[Bar]:
    bars = []
    for low, high, good, bad in zip(shown.edges, shown.edges[1:], shown.positives.tolist(), shown.negatives.tolist()):
        left, right = _x(shown, low, plot) + 0.5, _x(shown, high, plot) - 0.5
        for start, count, positive in ((0, good, True), (good, bad, False)):
            if count:
                top, bottom = plot.y((start + count) / shown.top), plot.y(start / shown.top)
                bars.append(Bar(round(left, 2), top, round(right - left, 2), round(bottom - top, 2), positive))
    return bars


def _curve(shown: Histogram, heights: Sequence[float], plot: Plot) -> str:
    places = [
        f"{_x(shown, x, plot):.1f} {plot.y(min(height / shown.top, 1)):.1f}"
        for x, height in zip(shown.x.tolist(), heights)
    ]
    return f"M{'L'.join(places)}" if places else ""


def _facts(one: ObjectAssignment) -> list[tuple[str, str]]:
    """Return the numbers below the drawings, each with its name."""
    positives, candidates = one.per_level()
    counts = zip(one.levels, positives, candidates)
    facts = [
        ("positives of candidates", ", ".join(f"{name} {p} of {c}" for (name, _, _), p, c in counts if c) or "none"),
        ("best IoU of an anchor", f"{one.best_overlap:.2f}"),
    ]
    if one.mixture is not None:
        (first, second), (low, high) = one.mixture.weights, one.mixture.means
        deviations = [variance**0.5 for variance in one.mixture.variances]
        gaussians = zip(("low", "high"), (first, second), (low, high), deviations)
        facts.append(
            ("Gaussians", "; ".join(f"{n}: weight {w:.2f}, mean {m:.3f} ± {d:.3f}" for n, w, m, d in gaussians))
        )
        facts.append(("separation", f"{one.mixture.separation:.2f} standard deviations"))
        cuts = one.mixture.cuts(one.candidates.scores)
        facts.append(("positives with another cut", ", ".join(f"{name}: {count}" for name, count in cuts.items())))
    if one.what_if:
        others = (f"{name}: {len(other.levels)} ({other.shared})" for name, other in one.what_if.items())
        facts.append(("positives by other rules, and how many of them are positive here", ", ".join(others)))
    return facts


def _jpeg(one: ObjectAssignment, window: Window, index: DatasetIndex) -> str | None:
    try:
        pixels = read_image(index.path(one.image))
    except ImageError:
        return None
    scale = np.array(pixels.shape[:2]) / one.size
    top, left = (scale * (window.top, window.left)).astype(int).tolist()
    bottom, right = np.maximum(np.ceil(scale * (window.bottom, window.right)).astype(int), [top + 1, left + 1]).tolist()
    return data_uri(pixels[top:bottom, left:right], _SIDE, _BYTES)
