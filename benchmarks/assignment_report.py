"""Make docs/assignment.md, and its plot, of what the study benchmarks/studies/assignment.toml found.

    python benchmarks/assignment_report.py [FOLDER] [--restore]

With the folder of the study, docs/assignment.jsonl is made of its results.json first: a line for the study, then one
for each run. --restore: nothing is made, but the runs of docs/assignment.jsonl count as finished in the folder, so that
`paa study` runs what is missing there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec

import machine
from paa.report.figures import hex_colour, new_figure, plain_axes, save_figure
from paa.report.study import section
from paa.report.study_tables import PARTS_NOTE, group_tables, mean_parts_rows, overall_tables, parts_rows, signed
from paa.report.tables import markdown_table
from paa.study.cells import Cell
from paa.study.estimates import Estimate
from paa.study.results import Results, comparison_path, difference, mean_over_data, measured, read_results
from paa.study.run_cell import RESULT

DOCS = Path(__file__).parents[1] / "docs"
PAPER = ("highest-iou", "atss", "paa")
"""The rules of the paper's Table 1, in its order."""

HEAD = """# Assignment rules compared

What is a rule worth by itself? Papers compare rules across codebases whose heads, losses and recipes differ. Here all
of that is the same: seven rules ([how to](how-to/rules.md#replace-the-assignment-rule) has a line about each), one head
(PAA's, with its IoU prediction and its three losses), one recipe, one start, the same batches of images in the same
order. The study is `benchmarks/studies/assignment.toml`, run by `paa study` ([how
to](how-to/rules.md#compare-assignment-rules)); this page is made of its results, `docs/assignment.jsonl`, by
`benchmarks/assignment_report.py`. No weights are chosen by the test images, which are looked at once, after the last
step.
"""

PICTURE = """
![Positive anchors of one object by each rule](images/assignment-rules.jpg)

The positives of each rule for an image to train on, on the outputs of the model that was trained by PAA's rule (seed
0): a circle in the middle of each positive anchor, larger on coarser levels, and their number.
`tools/rules_picture.py` drew it. The image is from the raccoon data set (copyright 2017 Dat Tran, MIT licence).
"""


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="of the study")
    parser.add_argument("--restore", action="store_true")
    given, file = parser.parse_args(), DOCS / "assignment.jsonl"
    if given.restore:
        restore(read_lines(file)[0], given.folder)
        return
    if given.folder is not None:
        write_lines(file, read_results(given.folder / "results.json"))
    results, about = read_lines(file)
    (DOCS / "assignment.md").write_text(page(results, about))
    plot(results, DOCS / "images" / "assignment-study.png")


def write_lines(file: Path, results: Results) -> None:
    """Write the results as lines of JSON; the recipe of a run is left out but for what auto decided: the anchors."""
    head = {**asdict(replace(results, cells=[])), "machine": machine.describe("cpu")}
    cells = [
        replace(cell, recipe={"model": {"anchor_scale": cell.recipe["model"]["anchor_scale"]}})
        for cell in results.cells
    ]
    file.write_text("".join(f"{json.dumps(line)}\n" for line in [head, *map(asdict, cells)]))


def read_lines(file: Path) -> tuple[Results, Mapping[str, Any]]:
    """Return the results, and the line of the study."""
    head, *cells = map(json.loads, file.read_text().splitlines())
    return msgspec.convert({**head, "cells": cells}, Results), head


def restore(results: Results, folder: Path) -> None:
    """Let the runs, and the comparisons of rules, count as finished in a folder; what it has already stays."""
    files: dict[Path, Any] = {folder / Cell(c.data, c.rule, c.epochs, c.seed).folder / RESULT: c for c in results.cells}
    files |= {comparison_path(folder, each.data, each.epochs): each for each in results.comparisons}
    for path, value in files.items():
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(asdict(value)))


def page(results: Results, about: Mapping[str, Any]) -> str:
    """Return the page."""
    parts = [HEAD, *state(results, about), "## The rules\n"]
    for table in overall_tables(results):
        parts.append(section(table, 3))
    parts += ["![AP, and positives over training](images/assignment-study.png)\n", *beyond_chance(results)]
    if (DOCS / "images" / "assignment-rules.jpg").exists():
        parts.append(PICTURE)
    parts += ["## The paper's table of rules, in small\n", f"{PARTS_NOTE} Rules in the order of the paper's Table 1.\n"]
    paper = replace(results, rules={rule: results.rules[rule] for rule in PAPER if rule in results.rules})
    for epochs in results.epochs:
        if rows := mean_parts_rows(paper, epochs):
            parts += [f"In the mean over the data sets, {epochs:g} epochs:\n", markdown_table(rows), ""]
    for data, epochs in results.groups():
        parts += [f"{data}, {epochs:g} epochs:\n", markdown_table(parts_rows(paper, data, epochs)), ""]
    for data, epochs in results.groups():
        parts.append(f"## {data}, {epochs:g} epochs\n")
        parts += [section(table, 3) for table in group_tables(results, data, epochs)]
    return "\n".join(parts).rstrip() + "\n"


def state(results: Results, about: Mapping[str, Any]) -> list[str]:
    """Return what is fixed, what was run, where and for how long, and how the rest is run."""
    fixed = "; ".join(f"{name} {value}" for name, value in results.fixed.items())
    scales = {cell.data: cell.recipe["model"]["anchor_scale"] for cell in results.cells}
    anchors = ", ".join(f"{scale:g} strides on {data}" for data, scale in scales.items())
    whole = len(results.cells) + len(results.missing) + len(results.failed)
    hours = sum(cell.seconds for cell in results.cells) / 3600
    commits = sorted({str(cell.environment.get("git_commit"))[:7] for cell in results.cells})
    done = "; ".join(f"{data}: {', '.join(counts) or 'none'}" for data, counts in seeds_done(results).items())
    lines = [
        f"The same for all: {fixed}; anchors and the pyramid's first level as `auto` chooses them for the images "
        f"to train on, {anchors}. What else a "
        "recipe has is that of `auto`: AdamW, a linear warm-up of 100 steps (at most a quarter of the run), a cosine, "
        "flips.\n",
        f"**{len(results.cells)} of {whole} runs are finished**, in {hours:.1f} hours of training by the clock with "
        f"one thread, other programs beside it, on {about['machine']['cpu']}, two cores (commits "
        f"{', '.join(commits)}). Finished seeds: {done}.\n",
    ]
    if results.missing:
        lines.append(
            f"{len(results.missing)} runs are missing. `make study DATA=FOLDER`, with the data sets in that folder, "
            "runs them, and makes this page anew; it can be stopped and started at any time. A budget of 48 epochs "
            "is not among them: `epochs = [12, 48]` in the study's file would add it, but from 24 epochs on `auto` "
            "changes images more (jitter, mosaics) unless the file's `[augment]` says otherwise.\n"
        )
    return lines + [f"Failed: {cell}: {reason}\n" for cell, reason in results.failed.items()]


def seeds_done(results: Results) -> dict[str, list[str]]:
    """Return data set -> how many seeds are finished and of which rules, in words."""
    done: dict[str, list[str]] = {data: [] for data in results.data}
    for data, epochs in results.groups():
        counts = {rule: len(results.of(data, epochs, rule)) for rule in results.rules}
        for count in sorted(set(counts.values()) - {0}, reverse=True):
            rules = [rule for rule in results.rules if counts[rule] == count]
            named = "all rules" if len(rules) == len(counts) else ", ".join(rules)
            done[data].append(f"{count} of {named}")
    return done


def beyond_chance(results: Results) -> list[str]:
    """Return which differences to the first rule are more than the chance of the seeds, as far as that can be said."""
    lines, without = [], []
    for epochs in results.epochs:
        for rule in list(results.rules)[1:]:
            _, change = mean_over_data(results, epochs, rule)
            if change is not None and excludes_zero(change):
                lines.append(f"{rule} in the mean over the data sets: {signed(change)}")
    for data, epochs in results.groups():
        first = results.of(data, epochs, results.first_rule)
        for rule in list(results.rules)[1:]:
            change = difference(results.of(data, epochs, rule), first, "AP")
            if change is not None and change.count == 1:
                without.append(data)
            elif change is not None and excludes_zero(change):
                lines.append(f"{rule} on {data}: {signed(change)}")
    said = []
    if lines:
        said.append(
            f"Differences in AP to {results.first_rule} whose interval over seeds leaves out zero: "
            f"{'; '.join(lines)}. Of twenty intervals of this kind one leaves out zero by chance alone.\n"
        )
    if without:
        said.append(
            f"Of one seed nothing can be said about chance ({', '.join(dict.fromkeys(without))}). Where the same terms "
            "were run with three seeds ([accuracy](accuracy.md)), PAA's own AP differed by up to 16 points between "
            "seeds on microcontrollers, which has 7 images to test on, and by 5 on raccoon.\n"
        )
    return said


def excludes_zero(change: Estimate) -> bool:
    """Return whether a difference has an interval, in which zero is not."""
    return change.low is not None and change.high is not None and (change.low > 0 or change.high < 0)


def plot(results: Results, path: Path) -> None:
    """Draw a row for each data set: AP by rule, a dot for each seed, and positives of an object over training."""
    groups = results.groups()
    figure = new_figure(10, 2.9 * len(groups), path)
    if figure is None:
        raise SystemExit(1)
    for row, (data, epochs) in enumerate(groups):
        left, right = (figure.add_subplot(len(groups), 2, 2 * row + column) for column in (1, 2))
        for number, rule in enumerate(results.rules):
            cells = results.of(data, epochs, rule)
            if not cells:
                continue
            colour, mean = hex_colour(number), measured(cells, "AP")
            assert mean is not None
            left.barh(rule, 100 * mean.mean, color=colour, alpha=0.75)
            left.plot(
                [100 * (cell.variants["as trained"]["AP"] or 0) for cell in cells], [rule] * len(cells), "k.", ms=4
            )
            lines = cells[0].positives
            per_object = [sum(map(sum, line["positives"])) / max(sum(line["objects"]), 1) for line in lines]
            right.plot([line["step"] for line in lines], per_object, color=colour, label=rule)
        left.invert_yaxis()
        left.set_title(f"{data}, {epochs:g} epochs: AP, a dot for each seed", size=9, loc="left")
        right.set_title(f"{data}: positives of an object, seed {results.seeds[0]}", size=9, loc="left")
        right.set_ylim(bottom=0)
        right.set_xlabel("step", size=8)
        right.legend(fontsize=6, ncols=2)
        for axes in (left, right):
            plain_axes(axes)
    save_figure(figure, path)


if __name__ == "__main__":
    main()
