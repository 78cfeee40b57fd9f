"""Tables of an evaluation, in percent: the same rows for the terminal (rich) and for documents (Markdown)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from rich import box
from rich.table import Table
from rich.text import Text

from paa.data.read_report import printable
from paa.evaluation.bootstrap import Interval
from paa.evaluation.dataset import EvaluatedDataset
from paa.evaluation.intervals import Intervals
from paa.evaluation.metrics import CocoMetrics
from paa.evaluation.operating_point import ClassCurve

Row = Mapping[str, str]
INTERVAL = "95 % interval"

_MEANINGS = {
    "AP": "average precision, mean over IoU 0.50:0.95",
    "AP50": "at IoU 0.50",
    "AP75": "at IoU 0.75",
    "APs": "small objects, below 32 x 32 pixels",
    "APm": "medium objects",
    "APl": "large objects, from 96 x 96 pixels",
    "AR1": "recall of 1 detection per class and image, mean over IoU",
    "AR10": "10 detections",
    "AR100": "100 detections",
    "ARs": "small objects",
    "ARm": "medium objects",
    "ARl": "large objects",
}
TEXT_COLUMNS = {  # columns aligned to the left
    *("measure", "meaning", "class", "name", "where", "split"),
    *("trial", "ended", "augmentation", "parameter", "rule"),
    *("size", "error", "scores", "IoU", "annotated", "found", "image", "verdict"),
}
_LONG = {  # columns wrapped where the terminal is narrow; numbers never are
    *("meaning", "class", "where", "image", "annotated", "found"),
}


def evaluation_tables(
    evaluated: EvaluatedDataset, title: str = "COCO's numbers", intervals: Intervals | None = None
) -> list[tuple[str, list[Row]]]:
    """Return the tables of an evaluation, each as its title and rows: the twelve numbers, classes, operating points.

    intervals: for a column of these beside the numbers.
    """
    return [
        (title, summary_rows(evaluated.metrics, intervals)),
        ("classes", class_rows(evaluated.metrics, intervals)),
        ("operating points of highest precision x recall, at IoU 0.5", operating_point_rows(evaluated.curves)),
    ]


def summary_rows(metrics: CocoMetrics, intervals: Intervals | None = None) -> list[Row]:
    """Return a row for each of COCO's twelve numbers, with what it measures and, if given, its interval."""
    return [
        {
            "measure": name,
            "value": percent(value),
            **({} if intervals is None else {INTERVAL: interval_text(intervals.measures.get(name))}),
            "meaning": _MEANINGS.get(name) or f"{name[2:]} detections",
        }
        for name, value in metrics.summary.items()
    ]


def class_rows(metrics: CocoMetrics, intervals: Intervals | None = None) -> list[Row]:
    """Return a row for each class, with its number of objects, AP and AP50, and at the end their mean."""
    bounds = [None] * len(metrics.classes) if intervals is None else intervals.classes
    rows = [
        {
            "class": c.name,
            "objects": str(c.objects),
            "AP": percent(c.ap),
            **({} if intervals is None else {INTERVAL: interval_text(bound)}),
            "AP50": percent(c.ap50),
        }
        for c, bound in zip(metrics.classes, bounds)
    ]
    mean = {
        "class": "mean",
        "objects": str(sum(c.objects for c in metrics.classes)),
        "AP": percent(metrics["AP"]),
        **({} if intervals is None else {INTERVAL: interval_text(intervals.measures["AP"])}),
        "AP50": percent(metrics["AP50"]),
    }
    return [*rows, mean]


def operating_point_rows(curves: Sequence[ClassCurve]) -> list[Row]:
    """Return a row for each class, with its best operating point, and at the end the means of defined values.

    AP: over all points of the curve, at its IoU. P x R: the best precision x recall. of AP: P x R as a share of the AP.
    """
    rows = [
        {
            "class": curve.name,
            "objects": str(curve.objects),
            "AP": percent(curve.ap),
            "score": f"{curve.point.threshold:.3f}" if curve.point else "-",
            "precision": percent(curve.point.precision if curve.point else None),
            "recall": percent(curve.point.recall if curve.point else None),
            "P x R": percent(curve.point.product if curve.point else None),
            "of AP": percent(curve.share),
        }
        for curve in curves
    ]
    points = [curve.point for curve in curves if curve.point]
    mean = {
        "class": "mean",
        "objects": str(sum(curve.objects for curve in curves)),
        "AP": percent(_mean([curve.ap for curve in curves])),
        "score": "-",
        "precision": percent(_mean([point.precision for point in points])),
        "recall": percent(_mean([point.recall for point in points])),
        "P x R": percent(_mean([point.product for point in points])),
        "of AP": percent(_mean([curve.share for curve in curves])),
    }
    return [*rows, mean]


def rich_table(rows: Sequence[Row], title: str | None = None) -> Table:
    """Return the rows as a table for the terminal; long names are wrapped to fit, a line sets off the row of means."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for key in rows[0] if rows else ():
        justify: Literal["left", "right"] = "left" if key in TEXT_COLUMNS else "right"
        width = None if key in _LONG else max(len(key), *(len(row[key]) for row in rows))
        table.add_column(key, justify=justify, min_width=width, no_wrap=key not in _LONG, overflow="fold")
    for row in rows:
        if row.get("class") == "mean":
            table.add_section()
        table.add_row(*(Text(value) for value in row.values()))
    return table


def markdown_table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table, its columns aligned in the source too; without rows an empty text."""
    if not rows:
        return ""
    keys = list(rows[0])
    cells = [keys, *([printable(row[key]).replace("|", "\\|") for key in keys] for row in rows)]
    widths = [max(3, *(len(line[column]) for line in cells)) for column in range(len(keys))]
    left = [key in TEXT_COLUMNS for key in keys]
    lines = [
        "| " + " | ".join(c.ljust(w) if start else c.rjust(w) for c, w, start in zip(line, widths, left)) + " |"
        for line in cells
    ]
    rule = "| " + " | ".join("-" * w if start else "-" * (w - 1) + ":" for w, start in zip(widths, left)) + " |"
    return "\n".join([lines[0], rule, *lines[1:]])


def percent(value: float | None) -> str:
    """Return a share in percent, with one digit."""
    return "-" if value is None else f"{100 * value:.1f}"


def interval_text(interval: Interval | None) -> str:
    """Return an interval in percent."""
    return "-" if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None
