"""Tables of what an assignment does over all objects."""

from __future__ import annotations

from collections.abc import Sequence

from paa.explanation.objects import Level
from paa.explanation.summary import Group, Summary
from paa.report.tables import Row, percent


def group_rows(groups: Sequence[Group], levels: Sequence[Level], column: str) -> list[Row]:
    """Return a row for each group that has objects, with the positives of these levels.

    column: what the groups' names are, as "size".
    """
    rows: list[Row] = []
    for one in groups:
        if not one.objects or one.per_level is None:
            continue
        rows.append(
            {
                column: one.name,
                "objects": str(one.objects),
                "positives": _number(one.positives),
                **{f"on {level.name}": _number(mean) for level, mean in zip(levels, one.per_level)},
                "candidates": _number(one.candidates),
                "no positive": _share(one.none, one.objects),
                "one positive": _share(one.one, one.objects),
                "no candidate": _share(one.no_candidates, one.objects),
                "separation": _number(one.separation, 2),
                "IoU error": _number(one.iou_error, 3),
            }
        )
    return rows


def what_if_rows(summary: Summary) -> list[Row]:
    """Return a row for each other rule, and for each other cut."""
    objects = max(summary.whole.objects, 1)
    rules: list[Row] = [
        {
            "name": other.name,
            "positives": f"{other.positives:.1f}",
            "no positive": _share(other.none, objects),
            "agreement, %": percent(other.agreement),
        }
        for other in summary.what_if
    ]
    cuts: list[Row] = [
        {"name": f"cut={name}", "positives": f"{mean:.1f}", "no positive": "", "agreement, %": ""}
        for name, mean in summary.cuts.items()
    ]
    return [*rules, *cuts]


def _number(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _share(count: int, of: int) -> str:
    return f"{count} ({100 * count / of:.1f} %)" if count else "0"
