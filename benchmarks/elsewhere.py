"""What is PAA worth in torchvision's detectors? Each of them with its own rule, and as the class of docs/elsewhere.md.

Terms, data and lines are those of accuracy.py, and so are the detectors: what its file, docs/accuracy.jsonl, has of
RetinaNet, FCOS and Faster R-CNN by their own rules is not run again here. PAA's anchors in FCOS, and those of
RetinaNet with one anchor at a location, are as this project's: squares of as many strides as the recipe `auto` chooses.

    python benchmarks/elsewhere.py --data DIR [--sets microcontrollers raccoon] [--detectors "FCOS, PAA" ...]
        [--seeds 0] [--output docs/elsewhere.jsonl]
    python benchmarks/elsewhere.py --table      # prints the table of docs/elsewhere.md
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import statistics
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator

import machine
from accuracy import TERMS, Cell, append, has_line, run_cell
from accuracy_detectors import (
    Start,
    Terms,
    TorchvisionPeer,
    make_faster_rcnn,
    make_fcos,
    make_retinanet,
)
from paa.core import STRIDES
from paa.data.index import DatasetIndex
from paa.training.auto import choose_anchor_scale, facts_of

DOCS = Path(__file__).parents[1] / "docs"
NUMBERS = ("AP", "AP50", "AP75")


def classes_of_the_page() -> dict[str, Any]:
    """Return the classes that docs/elsewhere.md defines, by their names."""
    (code, *_) = re.findall(r"^```python\n(.*?)^```", (DOCS / "elsewhere.md").read_text(), flags=re.M | re.S)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/elsewhere.md", "exec"), names)
    return names


CLASSES = classes_of_the_page()


def one_anchor(data: DatasetIndex, terms: Terms) -> AnchorGenerator:
    """Return this project's anchors: one square at a location."""
    scale = choose_anchor_scale(facts_of(data), terms.size)
    return AnchorGenerator(tuple((int(scale * stride),) for stride in STRIDES), ((1.0,),) * len(STRIDES))


def with_one_anchor(
    make: Callable[..., TorchvisionPeer], kind: str | None, start: Start, data: DatasetIndex, terms: Terms
) -> TorchvisionPeer:
    """Return a detector with this project's anchors; kind: the page's class, None for torchvision's."""
    chosen = {} if kind is None else {"kind": CLASSES[kind]}
    return make(start, data, terms, anchors=one_anchor(data, terms), **chosen)


def make_faster_rcnn_paa(start: Start, data: DatasetIndex, terms: Terms) -> TorchvisionPeer:
    """Return a Faster R-CNN with the page's proposal network, otherwise as accuracy.py has it."""
    peer = make_faster_rcnn(start, data, terms)
    CLASSES["give_paa"](peer.model)
    return peer


DETECTORS: dict[str, Callable[[Start, DatasetIndex, Terms], TorchvisionPeer]] = {
    "FCOS, PAA": partial(with_one_anchor, make_fcos, "PaaFCOS"),
    "RetinaNet, PAA": partial(make_retinanet, kind=CLASSES["PaaRetinaNet"]),
    "RetinaNet, one anchor": partial(with_one_anchor, make_retinanet, None),
    "RetinaNet, one anchor, PAA": partial(with_one_anchor, make_retinanet, "PaaRetinaNet"),
    "Faster R-CNN, PAA": make_faster_rcnn_paa,
}

PAIRS = {
    "FCOS": "FCOS, PAA",
    "RetinaNet, nine anchors": "RetinaNet, PAA",
    "RetinaNet, one anchor": "RetinaNet, one anchor, PAA",
    "Faster R-CNN": "Faster R-CNN, PAA",
}
"""Each detector with its own rule, and the same with PAA."""


def table(lines: list[dict[str, Any]]) -> str:
    """Return AP, AP50 and AP75 of each pair on each set, over the seeds that both were run with."""
    lines = [line for line in lines if (line["start"], line["epochs"]) == ("imagenet", 12)]
    rows = ["| | seeds | own rule: AP, AP50, AP75 | PAA | difference of AP |", "| --- | --- | --- | --- | --- |"]
    for data in dict.fromkeys(line["data"] for line in lines):
        for own, other in PAIRS.items():
            runs = [
                {line["seed"]: line for line in lines if (line["data"], line["detector"]) == (data, name)}
                for name in (own.removesuffix(", nine anchors"), other)
            ]
            seeds = sorted(runs[0].keys() & runs[1].keys())
            if seeds:
                means = [[statistics.mean(run[seed][n] for seed in seeds) for n in NUMBERS] for run in runs]
                cells = [", ".join(f"{value:.1f}" for value in each) for each in means]
                shown = ", ".join(map(str, seeds))
                rows.append(f"| {data}: {own} | {shown} | {' | '.join(cells)} | {means[1][0] - means[0][0]:+.1f} |")
    return "\n".join(rows)


def main() -> None:
    """Run what was asked for and is not in the file yet, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--table", action="store_true", help="print the table of the runs in --output")
    parser.add_argument("--sets", nargs="+", default=["microcontrollers", "raccoon"])
    parser.add_argument("--detectors", nargs="+", default=list(DETECTORS), choices=list(DETECTORS))
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--output", type=Path, default=DOCS / "elsewhere.jsonl")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    if arguments.table:
        files = (DOCS / "accuracy.jsonl", arguments.output)
        print(table([json.loads(line) for file in files for line in file.read_text().splitlines()]))
        return
    if arguments.data is None:
        parser.error("--data is missing")
    torch.set_num_threads(1)
    logging.getLogger("paa").setLevel(logging.ERROR)
    for seed in arguments.seeds:
        for data in arguments.sets:
            for name in arguments.detectors:
                cell = Cell(data, name, "imagenet", arguments.epochs, seed)
                if has_line(arguments.output, **asdict(cell)):
                    continue
                line = run_cell(cell, TERMS["imagenet"], arguments.data, DETECTORS[name], arguments.device)
                about = {"machine": machine.describe(arguments.device), "commit": machine.commit()}
                append(arguments.output, {**line, **about, "date": date.today().isoformat()})
                print({name: line[name] for name in (*asdict(cell), *NUMBERS, "seconds")}, flush=True)


if __name__ == "__main__":
    main()
