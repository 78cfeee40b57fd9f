"""Small studies for the tests: a STUDY.toml, and made-up results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paa.study.evaluate import VARIANTS
from paa.study.file import Study, read_study
from paa.study.results import Results
from paa.study.run_cell import CellResult

SMALL = """
recipe = "r18_nano"
batch_size = 2
epochs = [0.5]
seeds = [0]
[model]
norm = "frozen"
channels = 16
tower_depth = 1
min_size = 64
max_size = 96
[augment]
min_sizes = [64]
max_size = 96
[schedule]
frozen_stages = 5
[runtime]
device = "cpu"
workers = 0
log_interval = 1
checkpoint_interval = 1
loggers = []
[[data]]
name = "shapes"
path = "DATA"
"""
"""A study of two steps a run, without rules."""

PAA = '[[rules]]\nassigner = "paa"\n'
ATSS = '[[rules]]\nname = "atss-5"\nassigner = "atss"\nper_level = 5\n'

OWN = """
from paa.core import PaaAssigner

def own(*given):
    return PaaAssigner()(*given)

def late(outputs, anchors, *given):
    if len(anchors) < 1000:  # not on the image on which rules are tried
        raise ValueError("a fault of its own")
    return PaaAssigner()(outputs, anchors, *given)
"""


def small_study(folder: Path, data: Path, rules: str, **changes: str) -> Study:
    """Return a study of `SMALL` with rules; changes: key of the first part -> its value as TOML has it."""
    file = folder / "small.toml"
    text = SMALL.replace("DATA", str(data)) + rules
    lines = [
        f"{key} = {changes[key]}" if (key := line.partition(" ")[0]) in changes else line for line in text.splitlines()
    ]
    file.write_text("\n".join(lines))
    return read_study(file)


def made_up(aps: dict[str, list[float]], data: str = "cells & <b>", rules: dict[str, str] | None = None) -> Results:
    """Return results in which each rule has these APs, one a seed."""
    cells = [
        CellResult(
            data,
            rule,
            12.0,
            seed,
            (100, 10),
            20,
            60.0,
            {name: dict.fromkeys(("AP", "AP50", "AP75", "APm", "APl"), ap) | {"APs": None} for name in VARIANTS},
            [_counts(10), _counts(20)],
            {},
            {},
        )
        for rule, each in aps.items()
        for seed, ap in enumerate(each)
    ]
    texts = rules or {rule: rule for rule in aps}
    return Results("made-up", texts, {data: {"path": data}}, [12.0], [0, 1, 2], {"batch_size": 8}, cells, [], {}, [])


def _counts(step: int) -> dict[str, Any]:
    objects = [0, 2, 4, 0, 0]
    return {"step": step, "objects": objects, "without": [0, 1, 0, 0, 0], "positives": [[step * n, n] for n in objects]}
