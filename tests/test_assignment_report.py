"""The page on assignment rules is made of a study's results, and says what is missing."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))  # as for a script in that folder

import assignment_report
from paa.study.cells import Cell, cells_of
from paa.study.file import read_study
from paa.study.results import Results, gather
from tests.study.studies import made_up

STUDY = Path(__file__).parents[1] / "benchmarks" / "studies" / "assignment.toml"


def results(aps: dict[str, list[float]], *missing: str, data: str = "raccoon") -> Results:
    made = made_up(aps, data)
    cells = [replace(c, recipe={"model": {"anchor_scale": 4.0}}, environment={"git_commit": "abc"}) for c in made.cells]
    return replace(made, cells=cells, missing=list(missing))


def test_the_page_says_what_is_known_and_what_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "assignment.jsonl"
    given = results({"paa": [0.40, 0.42, 0.41], "atss": [0.30, 0.33, 0.31], "simota": [0.41]}, "a cell", "another")
    assignment_report.write_lines(file, given)
    assert len(file.read_text().splitlines()) == 1 + 7
    read, about = assignment_report.read_lines(file)
    assert read == given
    text = assignment_report.page(read, about)
    assert "**7 of 9 runs are finished**" in text
    assert "2 runs are missing" in text
    assert "Finished seeds: raccoon: 3 of paa, atss, 1 of simota." in text
    assert "leaves out zero: atss on raccoon: -9.7 (-" in text
    assert "Of one seed nothing can be said about chance (raccoon)" in text
    table = text.partition("## The paper's table of rules, in small")[2].partition("## raccoon")[0]
    assert table.index("atss") < table.index("paa ")
    assert "simota" not in table
    assert "mean over the data sets" not in text


def test_means_over_several_data_sets_come_first() -> None:
    aps = {"paa": [0.40, 0.42, 0.41], "atss": [0.30, 0.33, 0.31]}
    raccoon, cards = results(aps), results(aps, data="cards")
    both = replace(raccoon, data={**raccoon.data, **cards.data}, cells=[*raccoon.cells, *cards.cells])
    text = assignment_report.page(both, {"machine": {"cpu": "a CPU"}})
    assert "leaves out zero: atss in the mean over the data sets: -9.7 (-" in text
    table = text.partition("## The paper's table of rules, in small")[2]
    assert table.index("In the mean over the data sets, 12 epochs:") < table.index("raccoon, 12 epochs:")


def test_committed_runs_count_as_finished(tmp_path: Path) -> None:
    study = read_study(STUDY, tmp_path)
    given = results({"paa": [0.40, 0.42]})
    assignment_report.restore(given, tmp_path / "out")
    found = gather(study, tmp_path / "out")
    assert [(cell.rule, cell.seed) for cell in found.cells] == [("paa", 0), ("paa", 1)]
    assert len(found.missing) == len(cells_of(study)) - 2


def test_the_studies_files_are_studies(tmp_path: Path) -> None:
    for file in sorted(STUDY.parent.glob("*.toml")):
        study = read_study(file, tmp_path)
        assert Cell(study.data[0].name, "paa", 12.0, 0) in cells_of(study)


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assignment_report.plot(results({"paa": [0.40, 0.42], "atss": [0.3]}), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000
