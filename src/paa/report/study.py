"""The files of a study's results: results.json, results.md, and results.html, which needs nothing but itself."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from paa.report.html.study_page import study_page
from paa.report.study_tables import StudyTable, about, study_tables
from paa.report.tables import markdown_table
from paa.runtime.files import write_text
from paa.study.estimates import Estimate
from paa.study.results import MEASURES, Results, difference, mean_over_data, measured

JSON, MARKDOWN, PAGE = "results.json", "results.md", "results.html"


def write_study(folder: Path, results: Results) -> None:
    """Write what is finished of a study."""
    write_text(folder / JSON, json.dumps(study_dict(results), indent=1) + "\n")
    write_text(folder / MARKDOWN, study_markdown(results))
    write_text(folder / PAGE, study_page(results))


def study_dict(results: Results) -> dict[str, Any]:
    """Return the results as plain values, with a summary: means, intervals and differences of each rule, 0..1."""
    summary = []
    for data, epochs in results.groups():
        first = results.of(data, epochs, results.first_rule)
        for rule in results.rules:
            if cells := results.of(data, epochs, rule):
                numbers = {
                    name: (
                        measured(cells, name),
                        None if rule == results.first_rule else difference(cells, first, name),
                    )
                    for name in MEASURES
                }
                summary.append(
                    {
                        "data": data,
                        "epochs": epochs,
                        "rule": rule,
                        "seeds": [cell.seed for cell in cells],
                        "means": {name: mean and asdict(mean) for name, (mean, _) in numbers.items()},
                        "differences": {name: change and asdict(change) for name, (_, change) in numbers.items()},
                    }
                )
    return {"summary": summary, "means_over_data": _means_over_data(results), **asdict(results)}


def _means_over_data(results: Results) -> list[dict[str, Any]]:
    """Return mean AP over the data sets and difference of each rule, 0..1, in the seeds finished on all of them."""
    found = [
        {"epochs": epochs, "rule": rule, "mean": mean, "difference": change if rule != results.first_rule else None}
        for epochs in results.epochs
        for rule in results.rules
        for mean, change in [mean_over_data(results, epochs, rule)]
    ]
    return [
        {name: asdict(value) if isinstance(value, Estimate) else value for name, value in line.items()}
        for line in found
        if line["mean"] is not None
    ]


def study_markdown(results: Results) -> str:
    """Return the results as a document."""
    parts = [f"# Study: {results.name}\n", *(f"{line}\n" for line in about(results))]
    parts += [section(table) for table in study_tables(results)]
    return "\n".join(parts)


def section(table: StudyTable, level: int = 2) -> str:
    """Return a table with its title and note, in Markdown."""
    return f"{'#' * level} {table.title}\n\n{table.note}\n\n{markdown_table(table.rows)}\n"
