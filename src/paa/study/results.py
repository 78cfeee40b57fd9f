"""What a study has found so far, as one value that JSON can hold."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paa.config import flat
from paa.errors import RunError
from paa.study.cells import cells_of, folder_of
from paa.study.compare import RuleComparison
from paa.study.estimates import Estimate, estimate
from paa.study.evaluate import VARIANTS
from paa.study.file import Study
from paa.study.json_file import read_json
from paa.study.run_cell import CellResult, read_result

COMPARISON, FAILED = "comparison.json", "failed.txt"
MEASURES = ("AP", "AP50", "AP75", "APs", "APm", "APl")


@dataclass(frozen=True)
class Results:
    """A study's finished cells, and what is missing.

    rules, data: name -> what the study's file says. fixed: what is the same for all cells, by name. cells: the finished
    ones, in the order of the study. missing, failed: the others; failed: with the reason. comparisons: all rules on one
    model, for each data set and budget that has them.
    """

    name: str
    rules: dict[str, str]
    data: dict[str, dict[str, Any]]
    epochs: list[float]
    seeds: list[int]
    fixed: dict[str, Any]
    cells: list[CellResult]
    missing: list[str]
    failed: dict[str, str]
    comparisons: list[RuleComparison]

    def of(self, data: str, epochs: float, rule: str) -> list[CellResult]:
        """Return the finished cells of a rule, one for each seed."""
        return [c for c in self.cells if (c.data, c.epochs, c.rule) == (data, epochs, rule)]

    def groups(self) -> list[tuple[str, float]]:
        """Return the (data set, epochs) that have a finished cell."""
        return list(dict.fromkeys((cell.data, cell.epochs) for cell in self.cells))

    @property
    def first_rule(self) -> str:
        """The rule that the others are compared with."""
        return next(iter(self.rules))


def gather(study: Study, folder: Path) -> Results:
    """Return what is finished of a study in its folder."""
    cells, missing, failed = [], [], {}
    for cell in cells_of(study):
        own = folder / cell.folder
        if (result := read_result(own)) is not None:
            cells.append(result)
        elif (own / FAILED).exists():
            failed[str(cell)] = (own / FAILED).read_text(encoding="utf-8").strip()
        else:
            missing.append(str(cell))
    return Results(
        study.name,
        {rule.name: rule.written for rule in study.rules},
        {data.name: {**data.written} for data in study.data},
        list(study.epochs),
        list(study.seeds),
        _fixed(study),
        cells,
        missing,
        failed,
        [found for group in _groups(study) if (found := read_comparison(folder, *group)) is not None],
    )


def comparison_path(folder: Path, data: str, epochs: float) -> Path:
    """Return the file of a comparison of all rules on one model."""
    return folder / folder_of(data, epochs) / COMPARISON


def read_comparison(folder: Path, data: str, epochs: float) -> RuleComparison | None:
    """Return the comparison of all rules on one model of a data set and budget; None where there is none yet."""
    return read_json(comparison_path(folder, data, epochs), RuleComparison)


def read_results(path: Path) -> Results:
    """Return the results in a study's results.json; RunError if it is no such file."""
    results = read_json(path, Results)
    if results is None:
        raise RunError(f"{path}: no such file")
    return results


def measured(cells: Sequence[CellResult], measure: str, variant: str = next(iter(VARIANTS))) -> Estimate | None:
    """Return the mean over seeds of a number, 0..1; None where it is not defined."""
    values = _by_seed(cells, measure, variant)
    return estimate(list(values.values()))


def difference(
    cells: Sequence[CellResult],
    others: Sequence[CellResult],
    measure: str,
    variant: str = next(iter(VARIANTS)),
    other_variant: str | None = None,
) -> Estimate | None:
    """Return the mean difference of cells to others of the same seeds, which have the same images in the same order."""
    ours = _by_seed(cells, measure, variant)
    theirs = _by_seed(others, measure, variant if other_variant is None else other_variant)
    return estimate([value - theirs[seed] for seed, value in ours.items() if seed in theirs])


def mean_over_data(
    results: Results, epochs: float, rule: str, variant: str = next(iter(VARIANTS))
) -> tuple[Estimate | None, Estimate | None]:
    """Return the mean AP over all data sets, and the paired difference of it to the first rule's.

    Of the seeds that are finished on every data set of the study, each with its own mean; None where there is none, and
    in a study of one data set, whose own numbers say the same.
    """
    if len(results.data) == 1:
        return None, None
    ours, first = (_means_by_seed(results, epochs, name, variant) for name in (rule, results.first_rule))
    differences = [value - first[seed] for seed, value in ours.items() if seed in first]
    return estimate(list(ours.values())), estimate(differences)


def _means_by_seed(results: Results, epochs: float, rule: str, variant: str) -> Mapping[int, float]:
    values = [_by_seed(results.of(data, epochs, rule), "AP", variant) for data in results.data]
    common = set.intersection(*map(set, values))
    return {seed: statistics.fmean(each[seed] for each in values) for seed in sorted(common)}


def _by_seed(cells: Sequence[CellResult], measure: str, variant: str) -> Mapping[int, float]:
    values = {cell.seed: cell.variants[variant][measure] for cell in cells}
    return {seed: value for seed, value in values.items() if value is not None}


def _groups(study: Study) -> list[tuple[str, float]]:
    return [(data.name, epochs) for epochs in study.epochs for data in study.data]


def _fixed(study: Study) -> dict[str, Any]:
    """Return what is the same for all cells: as the file says it, and what a study never varies."""
    shared = {"recipe": study.recipe, "start (init)": study.init, "batch_size": study.batch_size}
    groups = {name: values for name, values in study.groups.items() if name != "validation"}
    return {
        **{name: value for name, value in shared.items() if value is not None},
        **flat(groups),
        "losses": "focal, GIoU and IoU prediction, with the paper's weights",
    }
