"""The geometry of a chart of lines, as SVG: values over the steps of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paa.drawing.palette import class_colour
from paa.report.html.charts import Plot

WIDE = Plot(width=420, left=34, right=412, top=12, bottom=190, height=224)
_TICKS = 4


@dataclass(frozen=True)
class Line:
    """A line: its colour, and its points as SVG has them."""

    name: str
    colour: str
    points: str


@dataclass(frozen=True)
class Lines:
    """A chart of lines. x_ticks, y_ticks: places and texts."""

    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]


def lines(series: Mapping[str, Sequence[tuple[int, float]]], plot: Plot = WIDE) -> Lines | None:
    """Return the chart of named series of (step, value at least 0); None where there is nothing to draw."""
    points = [point for each in series.values() for point in each]
    if not points:
        return None
    steps, most = max(step for step, _ in points), max(value for _, value in points) or 1.0

    def drawn(name: str, number: int) -> Line:
        at = " ".join(f"{plot.x(step / steps)},{plot.y(value / most)}" for step, value in series[name])
        return Line(name, "#{:02x}{:02x}{:02x}".format(*class_colour(number)), at)

    ticks = [i / _TICKS for i in range(_TICKS + 1)]
    return Lines(
        [drawn(name, number) for number, name in enumerate(series)],
        [(plot.x(share), f"{share * steps:.0f}") for share in ticks],
        [(plot.y(share), f"{share * most:.3g}") for share in ticks],
    )
