"""The tables of a study: rules against each other, with intervals over seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paa.report.tables import Row, percent
from paa.study.compare import RuleCost
from paa.study.estimates import Estimate
from paa.study.evaluate import VARIANTS
from paa.study.positives import SIZES
from paa.study.results import MEASURES, Results, difference, mean_over_data, measured
from paa.study.run_cell import CellResult

SEEDS_NOTE = (
    "In percent, of the last step's weights, never the best: means over seeds, with the interval in which the mean of "
    "many seeds would lie 95 times in 100 (Student's t). Differences are of the same seeds (paired), to the first rule."
)
ONE_SEED = "Only one seed is finished where no interval is shown: such a number says nothing of chance."


def about(results: Results) -> list[str]:
    """Return what a study varies, what is the same for all, and how much of it is finished, in sentences."""
    rules = "; ".join(f"{name}: {text}" if name != text else name for name, text in results.rules.items())
    epochs, seeds = (", ".join(f"{value:g}" for value in values) for values in (results.epochs, results.seeds))
    fixed = "; ".join(f"{name} {value}" for name, value in results.fixed.items())
    done, failed = len(results.cells), len(results.failed)
    whole = done + failed + len(results.missing)
    lines = [
        f"What varies: the rule ({rules}); beside it the data set ({', '.join(results.data)}), the epochs ({epochs}) "
        f"and the seed ({seeds}).",
        f"The same for all: {fixed}.",
        f"{done} of {whole} runs are finished{f', {failed} failed' if failed else ''}.",
    ]
    return lines + [f"Failed: {cell}: {reason}" for cell, reason in results.failed.items()]


@dataclass(frozen=True)
class StudyTable:
    """A table with its title, and what a reader must know."""

    title: str
    note: str
    rows: list[Row]


def study_tables(results: Results, short: bool = False) -> list[StudyTable]:
    """Return the tables of what is finished: those over all data sets, then those of each data set and budget.

    short: without the numbers by size, for a terminal.
    """
    tables = overall_tables(results)
    for data, epochs in results.groups():
        tables += group_tables(results, data, epochs, MEASURES[:3] if short else MEASURES)
    return tables


def overall_tables(results: Results) -> list[StudyTable]:
    """Return the tables over all data sets and budgets; none where there is only one of these."""
    groups = results.groups()
    if len(groups) < 2:
        return []
    rows: list[Row] = []
    for rule in results.rules:
        row = {"rule": rule}
        for data, epochs in groups:
            row[f"{data}, {epochs:g}"] = with_interval(measured(results.of(data, epochs, rule), "AP"))
        rows.append(row)
    tables = [StudyTable("AP", f"Columns: data set, epochs. {SEEDS_NOTE} {_seeds_note(results.cells)}".strip(), rows)]
    tables += [means_table(results, epochs) for epochs in results.epochs]
    return [table for table in tables if table.rows]


def means_table(results: Results, epochs: float) -> StudyTable:
    """Return the means over data sets, in which the chance of each set counts for less; no rows where none is whole."""
    rows: list[Row] = []
    for rule in results.rules:
        mean, change = mean_over_data(results, epochs, rule)
        if mean is not None:
            row = {"rule": rule, "seeds": str(mean.count), "mean AP": with_interval(mean)}
            rows.append({**row, "difference": "" if rule == results.first_rule else signed(change)})
    return StudyTable(f"Mean AP over the data sets, {epochs:g} epochs", MEANS_NOTE, rows)


def group_tables(results: Results, data: str, epochs: float, measures: Sequence[str] = MEASURES) -> list[StudyTable]:
    """Return the tables of one data set and budget."""
    where = f"{data}, {epochs:g} epochs"
    cells = [cell for cell in results.cells if (cell.data, cell.epochs) == (data, epochs)]
    train, test = cells[0].images
    note = f"{train} images to train on, {test} to test on. {SEEDS_NOTE} {_seeds_note(cells)}".strip()
    tables = [
        StudyTable(f"COCO's numbers, {where}", note, _numbers(results, data, epochs, measures)),
        StudyTable(
            f"With and without IoU prediction and voting, {where}", PARTS_NOTE, parts_rows(results, data, epochs)
        ),
        StudyTable(f"Upper bounds, {where}", BOUNDS_NOTE, _bounds(results, data, epochs)),
        StudyTable(f"Positives of an object over training, {where}", POSITIVES_NOTE, _positives(results, data, epochs)),
        StudyTable(f"Positives by level, {where}", LEVELS_NOTE, _levels(results, data, epochs)),
    ]
    for comparison in results.comparisons:
        if (comparison.data, comparison.epochs) == (data, epochs):
            found = comparison.found
            clock = "of this process alone" if found.by_process_time else "by the clock"
            tables += [
                StudyTable(
                    f"Cost of a rule, {where}",
                    f"Milliseconds {clock} for a batch of {found.batch} images of {found.size[0]} x {found.size[1]}, "
                    f"{found.anchors} anchors each: the rule alone, without the losses; median and quartiles of rounds "
                    "in which all rules took turns. Ratio: to PAA with the paper's numbers, in the same process. "
                    "Memory: by how much it rises while the rule runs.",
                    _costs(results, comparison.found.costs),
                ),
                StudyTable(
                    f"Agreement of rules, {where}",
                    f"On the outputs of one model ({comparison.model}) for {found.images} images to train on with "
                    f"{found.objects} objects: the share, in percent, of the (anchor, object) pairs positive by either "
                    "of two rules that are positive by both (Jaccard). Positives: of an object.",
                    _overlap(results, found.overlap, found.positives),
                ),
            ]
    return [table for table in tables if table.rows]


MEANS_NOTE = (
    "In percent: each seed that is finished on all data sets has one mean over these; of the means of the seeds, the "
    "mean, its interval and the differences as above. All data sets count alike."
)
PARTS_NOTE = (
    "AP of the same trained weights, evaluated four times: without voting boxes stay as NMS leaves them; without IoU "
    "prediction the score is the class probability alone, in NMS and voting too. All were trained with the IoU loss."
)
BOUNDS_NOTE = (
    "AP of the same trained weights where the truth stands in for a part of the score, with voting. True IoU: the "
    "predicted IoU is replaced by the highest IoU of the predicted box with an object of the image. Truth: the whole "
    "score is replaced by the highest IoU with an object of the class, as if boxes were told apart and ranked without "
    "a mistake. What is left to 100 is boxes that were not predicted, and NMS."
)
POSITIVES_NOTE = (
    "Mean number of positive anchors of an object in the batches that were trained on, by the side of the object (root "
    "of its area) in the pixels of the resized image: in the first and the last part of the run. None: the share of "
    "objects, in percent, without a positive, over the whole run."
)
LEVELS_NOTE = "The share of a run's positives on each level of the pyramid, finest first, in percent."


_PARTS = {"neither": "neither", "voting": "no IoU prediction", "IoU prediction": "no voting", "both": "as trained"}
"""Title of a column -> the variant that is shown in it."""


def with_interval(value: Estimate | None) -> str:
    """Return a mean in percent, with its interval if it has one."""
    if value is None:
        return "-"
    if value.low is None or value.high is None:
        return f"{100 * value.mean:.1f}"
    return f"{100 * value.mean:.1f} ({100 * value.low:.1f} to {100 * value.high:.1f})"


def signed(value: Estimate | None) -> str:
    """Return a difference in percent, with its sign, and its interval if it has one."""
    if value is None:
        return "-"
    if value.low is None or value.high is None:
        return f"{100 * value.mean:+.1f}"
    return f"{100 * value.mean:+.1f} ({100 * value.low:+.1f} to {100 * value.high:+.1f})"


def _seeds_note(cells: Sequence[CellResult]) -> str:
    seeds: dict[tuple[str, float, str], set[int]] = {}
    for cell in cells:
        seeds.setdefault((cell.data, cell.epochs, cell.rule), set()).add(cell.seed)
    return ONE_SEED if any(len(each) == 1 for each in seeds.values()) else ""


def _numbers(results: Results, data: str, epochs: float, measures: Sequence[str]) -> list[Row]:
    first = results.of(data, epochs, results.first_rule)
    rows: list[Row] = []
    for rule in results.rules:
        cells = results.of(data, epochs, rule)
        if cells:
            change = "" if rule == results.first_rule else signed(difference(cells, first, "AP"))
            row = {"rule": rule, "seeds": str(len(cells)), "AP": "", "difference": change}
            row |= {measure: with_interval(measured(cells, measure)) for measure in measures}
            row["minutes"] = f"{sum(cell.seconds for cell in cells) / len(cells) / 60:.1f}"
            rows.append(row)
    return rows


def _rows(
    results: Results, data: str, epochs: float, columns: Callable[[list[CellResult]], dict[str, str]]
) -> list[Row]:
    found = [(rule, results.of(data, epochs, rule)) for rule in results.rules]
    return [{"rule": rule, **columns(cells)} for rule, cells in found if cells]


def parts_rows(results: Results, data: str, epochs: float) -> list[Row]:
    """Return AP with and without each part of the score, by rule."""
    return _rows(
        results,
        data,
        epochs,
        lambda cells: {name: with_interval(measured(cells, "AP", variant)) for name, variant in _PARTS.items()},
    )


def mean_parts_rows(results: Results, epochs: float) -> list[Row]:
    """Return the mean AP over the data sets with and without each part of the score, by rule, as `means_table` does."""
    rows: list[Row] = []
    for rule in results.rules:
        means = {name: mean_over_data(results, epochs, rule, variant)[0] for name, variant in _PARTS.items()}
        if any(means.values()):
            rows.append({"rule": rule, **{name: with_interval(mean) for name, mean in means.items()}})
    return rows


def _bounds(results: Results, data: str, epochs: float) -> list[Row]:
    def columns(cells: list[CellResult]) -> dict[str, str]:
        return {
            "as trained": with_interval(measured(cells, "AP")),
            "true IoU": with_interval(measured(cells, "AP", "true IoU")),
            "gain": signed(difference(cells, cells, "AP", "true IoU", next(iter(VARIANTS)))),
            "truth": with_interval(measured(cells, "AP", "truth")),
        }

    return _rows(results, data, epochs, columns)


def _positives(results: Results, data: str, epochs: float) -> list[Row]:
    def columns(cells: list[CellResult]) -> dict[str, str]:
        lines = [cell.positives for cell in cells if cell.positives]
        if not lines:
            return {}
        row = {"all": _ratio([each[0] for each in lines], None) + " to " + _ratio([each[-1] for each in lines], None)}
        for size, name in enumerate(SIZES):
            ends = [_ratio([each[i] for each in lines], size) for i in (0, -1)]
            row[name] = "-" if ends == ["-", "-"] else " to ".join(ends)
        every = [line for each in lines for line in each]
        objects, without = (sum(sum(line[name]) for line in every) for name in ("objects", "without"))
        row["none"] = percent(without / objects if objects else None)
        return row

    return [row for row in _rows(results, data, epochs, columns) if len(row) > 1]


def _ratio(lines: list[dict[str, Any]], size: int | None) -> str:
    """Return the positives of an object of a size (None: of any), from the counts of several seeds."""
    sizes = range(len(SIZES)) if size is None else [size]
    objects = sum(line["objects"][i] for line in lines for i in sizes)
    positives = sum(sum(line["positives"][i]) for line in lines for i in sizes)
    return f"{positives / objects:.1f}" if objects else "-"


def _levels(results: Results, data: str, epochs: float) -> list[Row]:
    def columns(cells: list[CellResult]) -> dict[str, str]:
        lines = [line for cell in cells for line in cell.positives]
        levels = [sum(each) for each in zip(*(row for line in lines for row in line["positives"]))]
        finest = 8 - len(levels)  # the last one is P7
        return {f"P{finest + i}": percent(level / max(sum(levels), 1)) for i, level in enumerate(levels)}

    return [row for row in _rows(results, data, epochs, columns) if len(row) > 1]


def _costs(results: Results, costs: Mapping[str, RuleCost]) -> list[Row]:
    return [
        {
            "rule": rule,
            "milliseconds": f"{cost.milliseconds:.2f} ({cost.quartiles[0]:.2f} to {cost.quartiles[1]:.2f})",
            "ratio": f"{cost.ratio:.2f}",
            "memory, MB": "-" if cost.megabytes is None else f"{cost.megabytes:.1f}",
        }
        for rule, cost in costs.items()
        if rule in results.rules
    ]


def _overlap(results: Results, overlap: Sequence[Sequence[float]], positives: Mapping[str, float]) -> list[Row]:
    names = list(positives)
    return [
        {
            "rule": rule,
            "positives": f"{positives[rule]:.1f}",
            **{other: percent(overlap[i][j]) for j, other in enumerate(names) if other in results.rules},
        }
        for i, rule in enumerate(names)
        if rule in results.rules
    ]
