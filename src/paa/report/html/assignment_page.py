"""assignment.html: what an assignment does with each object, on one page, which needs nothing but itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from paa import __version__
from paa.explanation.summary import SEPARATED, Summary
from paa.report.explanation import Explained
from paa.report.explanation_tables import group_rows, what_if_rows
from paa.report.html import charts
from paa.report.html.assignment_view import colours, view_of
from paa.report.html.environment import page_templates
from paa.report.tables import TEXT_COLUMNS
from paa.runtime.files import write_text

_MOST_COUNTS = 24  # columns of the chart of positives
_SEPARATIONS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, np.inf)


def write_assignment_page(path: Path, explained: Explained) -> None:
    """Write the page."""
    write_text(path, assignment_page(explained))


def assignment_page(explained: Explained) -> str:
    """Return the page."""
    summary = explained.summary
    return (
        page_templates()
        .get_template("assignment.html")
        .render(
            version=__version__,
            explained=explained,
            short=str(Path(*Path(explained.what).parts[-2:])),
            whole=summary.whole,
            levels=summary.levels,
            colours=colours(len(summary.levels)),
            text_columns=TEXT_COLUMNS,
            sizes=group_rows([*summary.sizes, summary.whole], summary.levels, "size"),
            overlaps=group_rows(summary.overlaps, summary.levels, "IoU"),
            what_if=what_if_rows(summary),
            separated=SEPARATED,
            column_plot=charts.COLUMNS,
            charts_of_all=_charts(summary),
            views=[view_of(one, explained.index) for one in explained.shown],
        )
    )


def _charts(summary: Summary) -> list[tuple[str, list[charts.Column]]]:
    """Return the charts of all objects, each with its title."""
    counts = [*summary.counts[:_MOST_COUNTS], *([sum(summary.counts[_MOST_COUNTS:])] if _more(summary) else [])]
    labels = [*map(str, range(_MOST_COUNTS)), f"≥ {_MOST_COUNTS}"]
    per_level = zip(summary.levels, summary.whole.per_level or ())
    shown = {
        "Objects by their number of positives": [
            (label, float(count), str(count) if count else "", f"{count} objects with {label} positives")
            for label, count in zip(labels, counts)
        ],
        "Positives per object on each level": [
            (level.name, mean, f"{mean:.1f}", f"{mean:.2f} positives of {level.side:g} pixels per object")
            for level, mean in per_level
        ],
        "Objects by the separation of their Gaussians": _separations(summary.separations),
    }
    return [(title, charts.columns(bars, charts.COLUMNS)) for title, bars in shown.items() if bars]


def _more(summary: Summary) -> bool:
    return len(summary.counts) > _MOST_COUNTS


def _separations(values: Sequence[float]) -> list[tuple[str, float, str, str]]:
    if not values:
        return []
    counts = np.histogram(values, _SEPARATIONS)[0].tolist()
    return [
        (f"{low:g}", float(count), str(count) if count else "", f"{count} objects from {low:g} to below {high:g}")
        for low, high, count in zip(_SEPARATIONS, _SEPARATIONS[1:], counts)
    ]
