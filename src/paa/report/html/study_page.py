"""results.html: a study on one page, which needs nothing but itself."""

from __future__ import annotations

from dataclasses import dataclass

from paa import __version__
from paa.evaluation.comparison import Difference
from paa.report.figures import shortened
from paa.report.html import charts
from paa.report.html.environment import page_templates
from paa.report.html.lines import WIDE, Lines, lines
from paa.report.study_tables import StudyTable, about, group_tables, overall_tables
from paa.report.tables import TEXT_COLUMNS, percent
from paa.study.results import Results, difference, measured


@dataclass(frozen=True)
class _Group:
    """What the page shows of one data set and budget."""

    id: str
    name: str
    tables: list[StudyTable]
    ap: list[charts.Column]
    differences: charts.Whiskers | None
    positives: Lines | None


def study_page(results: Results) -> str:
    """Return the page."""
    page = page_templates().get_template("study.html")
    return page.render(
        version=__version__,
        name=results.name,
        about=about(results),
        first_rule=results.first_rule,
        overall=overall_tables(results),
        groups=[_group(results, i, *group) for i, group in enumerate(results.groups())],
        text_columns=TEXT_COLUMNS,
        column_plot=charts.COLUMNS,
        wide_plot=WIDE,
    )


def _group(results: Results, number: int, data: str, epochs: float) -> _Group:
    rules = [rule for rule in results.rules if results.of(data, epochs, rule)]
    means = {rule: measured(results.of(data, epochs, rule), "AP") for rule in rules}
    bars = [
        (
            shortened(rule, 8),
            mean.mean,
            percent(mean.mean),
            f"{rule}: AP {percent(mean.mean)}, mean of {mean.count} seeds",
        )
        for rule, mean in means.items()
        if mean is not None
    ]
    return _Group(
        f"group{number}",
        f"{data}, {epochs:g} epochs",
        group_tables(results, data, epochs),
        charts.columns(bars, charts.COLUMNS),
        charts.whiskers(_differences(results, data, epochs)),
        lines({rule: positives for rule in rules if (positives := _positives(results, data, epochs, rule))}),
    )


def _differences(results: Results, data: str, epochs: float) -> list[Difference]:
    first, found = results.of(data, epochs, results.first_rule), []
    for rule in results.rules:
        change = difference(results.of(data, epochs, rule), first, "AP")
        if rule != results.first_rule and change is not None and change.low is not None and change.high is not None:
            found.append(Difference(rule, change.mean, 0.0, (change.low, change.high)))
    return found


def _positives(results: Results, data: str, epochs: float, rule: str) -> list[tuple[int, float]]:
    """Return the positives of an object by step, over all seeds of a rule."""
    counts: dict[int, list[tuple[int, int]]] = {}
    for cell in results.of(data, epochs, rule):
        for line in cell.positives:
            counts.setdefault(line["step"], []).append((sum(map(sum, line["positives"])), sum(line["objects"])))
    sums = {step: tuple(map(sum, zip(*each))) for step, each in sorted(counts.items())}
    return [(step, positives / objects) for step, (positives, objects) in sums.items() if objects]
