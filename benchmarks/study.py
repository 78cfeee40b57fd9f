"""What is each part of the detector worth, and which defaults are best? Defaults of training point at lines of this.

Each variant changes one thing of this project's detector (or, with `FCOS:` or `Faster R-CNN:` before its name, of that
detector of torchvision's), and is trained as in accuracy.py. Nothing here sees a test image: a fifth of the training
images, chosen by their names, are held out of training and tested on. Each run is one JSON line, with the variant's
name; a run that is in the file already is not run again.

    python benchmarks/study.py --data DIR [--variants base "no voting" ...] [--sets bccd ...] [--starts imagenet]
        [--epochs 12] [--seeds 0 1] [--output docs/study.jsonl]
    python benchmarks/study.py --table      # prints the tables of docs/results.md
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import torch

import machine
from accuracy import SPLITS, TERMS, Cell, append, has_line, run_cell
from accuracy_detectors import STARTS, Ours, Start, Terms, make_faster_rcnn, make_fcos
from paa.assigners import AtssAssigner, HighestIouAssigner
from paa.config import ModelConfig
from paa.core import LossWeights, PaaAssigner
from paa.data.index import DatasetIndex
from paa.model.detector import Detector
from paa.training.auto import choose_anchor_scale, facts_of


@dataclass(frozen=True)
class Variant:
    """What differs from the default: fields of `Terms`, of the model, of the detector; peer: not ours, but this one."""

    terms: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    ours: dict[str, Any] = field(default_factory=dict)
    peer: Callable[[Start, DatasetIndex, Terms], Any] | None = None

    def make(self, start: Start, data: DatasetIndex, terms: Terms) -> Any:
        if self.peer is not None:
            return self.peer(start, data, terms)
        level = self.model.get("first_level", 3)  # the base is the paper's pyramid
        model = {"channels": terms.channels, "anchor_scale": choose_anchor_scale(facts_of(data), terms.size, level)}
        return Ours(ModelConfig(**model | self.model), start, data.names, **self.ours)


def start_scales(value: float, detector: Detector) -> None:
    """Let the learned scale of each level's deltas start at `value`."""
    torch.nn.init.constant_(detector.head.scales, value)


def start_classes(value: float, detector: Detector) -> None:
    """Let every class of every anchor start with this probability; 0.01 by default."""
    detector.head.start_classes_at(value)


def start_outputs(std: float, detector: Detector) -> None:
    """Let the weights of the head's last layers start with this standard deviation; 0.01 by default."""
    for layer in (detector.head.cls_logits, detector.head.deltas, detector.head.iou_logits):
        torch.nn.init.normal_(layer.weight, std=std)


def freeze(stages: int, detector: Detector) -> None:
    """Do not train the backbone's first stages."""
    detector.freeze(stages)


def in_turn(first: Callable[[Detector], object], then: Callable[[Detector], object], detector: Detector) -> None:
    """Change the detector twice."""
    first(detector)
    then(detector)


def from_a_tenth(variant: Variant) -> Variant:
    """Return the variant with classes that start at 0.1, as in `auto`."""
    change = variant.ours.get("change", lambda detector: None)
    return replace(variant, ours=variant.ours | {"change": partial(in_turn, partial(start_classes, 0.1), change)})


P2 = {"first_level": 2, "anchor_scale": 8.0}
P2_OF_1 = P2 | {"tower_depth": 1}
JITTER = {"scale_jitter": (0.7, 1.4), "color_jitter": 0.2}

VARIANTS: dict[str, Variant] = {
    "base": Variant(),
    **{f"warm-up {n}": Variant({"warmup_steps": n}) for n in (0, 25, 50, 200)},
    **{f"lr {x:g}": Variant({"lr": x}) for x in (2.5e-4, 1e-3, 2e-3)},
    **{f"scales {x}": Variant(ours={"change": partial(start_scales, float(x))}) for x in (2, 4, 8)},
    **{f"prior {x:g}": Variant(ours={"change": partial(start_classes, x)}) for x in (0.03, 0.1, 0.3)},
    **{f"outputs start at {x:g}": Variant(ours={"change": partial(start_outputs, x)}) for x in (0.003, 0.03)},
    **{f"anchors {x:g}": Variant(model={"anchor_scale": float(x)}) for x in (2, 3, 4, 6, 8)},
    **{f"towers of {n}": Variant(model={"tower_depth": n}) for n in (1, 2)},
    "P2": Variant(model=P2),
    **{f"size {n}": Variant({"size": n}) for n in (256, 320)},
    "P2, size 256": Variant({"size": 256}, P2),
    **{f"P2, anchors {n}": Variant(model=P2 | {"anchor_scale": float(n)}) for n in (4, 6)},
    "P2, towers of 2": Variant(model=P2 | {"tower_depth": 2}),
    "P2, towers of 1": Variant(model=P2_OF_1),
    **{f"P2, towers of 1, anchors {n}": Variant(model=P2_OF_1 | {"anchor_scale": float(n)}) for n in (4, 6)},
    "P2, towers of 1, lr 0.002": Variant({"lr": 2e-3}, P2_OF_1),
    "P2, towers of 1, box 2.0": Variant(model=P2_OF_1, ours={"weights": LossWeights(box=2.0)}),
    "P2, towers of 1, rule by IoU": Variant(model=P2_OF_1, ours={"assigner": HighestIouAssigner()}),
    "rule by IoU": Variant(ours={"assigner": HighestIouAssigner()}),
    "rule ATSS": Variant(ours={"assigner": AtssAssigner()}),
    **{f"candidates {n}": Variant(ours={"assigner": PaaAssigner(per_level=n)}) for n in (5, 15)},
    "match 0.3": Variant(ours={"assigner": PaaAssigner(match_iou=0.3)}),
    **{f"box {x}": Variant(ours={"weights": LossWeights(box=x)}) for x in (2.0, 3.0)},
    "boxes sooner": Variant(
        model={"tower_depth": 2}, ours={"weights": LossWeights(box=2.0), "change": partial(start_scales, 4.0)}
    ),
    "jitter": Variant(JITTER),
    **{f"jitter, backbone's lr {x:g}": Variant(JITTER | {"backbone_lr_factor": x}) for x in (0.3, 1.0)},
    **{f"jitter, {n} stages frozen": Variant(JITTER, ours={"change": partial(freeze, n)}) for n in (2, 3)},
    "jitter, lr 1e-3, backbone's lr 1": Variant(JITTER | {"lr": 1e-3, "backbone_lr_factor": 1.0}),
    "jitter, backbone's lr 1, 2 stages frozen": Variant(
        JITTER | {"backbone_lr_factor": 1.0}, ours={"change": partial(freeze, 2)}
    ),
    "jitter, backbone's lr 1, mosaic 0.5": Variant(
        JITTER | {"backbone_lr_factor": 1.0, "mosaic": 0.5, "average": 0.998}
    ),
    "jitter, backbone's lr 1, mosaic 0.5, prior 0.1": Variant(
        JITTER | {"backbone_lr_factor": 1.0, "mosaic": 0.5, "average": 0.998},
        ours={"change": partial(start_classes, 0.1)},
    ),
    "wide jitter, backbone's lr 1": Variant(
        {"scale_jitter": (0.5, 2.0), "color_jitter": 0.4, "backbone_lr_factor": 1.0, "average": 0.998}
    ),
    "jitter, backbone's lr 1, size 208": Variant(JITTER | {"backbone_lr_factor": 1.0, "size": 208}),
    "FCOS: base": Variant(peer=make_fcos),
    **{f"FCOS: lr {x:g}": Variant({"lr": x}, peer=make_fcos) for x in (2.5e-4, 1e-3, 2e-3)},
    **{f"FCOS: warm-up {n}": Variant({"warmup_steps": n}, peer=make_fcos) for n in (0, 25)},
    "Faster R-CNN: base": Variant(peer=make_faster_rcnn),
    "Faster R-CNN: P3": Variant(peer=partial(make_faster_rcnn, first_level=3)),
}
VARIANTS |= {
    f"{name}, prior 0.1": from_a_tenth(VARIANTS[name])
    for name in (
        *("P2", "towers of 1", "towers of 2", "lr 0.002", "warm-up 25", "scales 4", "box 2.0", "box 3.0"),
        *("boxes sooner", "rule by IoU"),
        *(name for name in VARIANTS if name.startswith(("P2, anchors", "P2, towers"))),
    )
}


@contextmanager
def without_voting(ours: Ours) -> Iterator[None]:
    """Leave score voting out (paper, section 3.4)."""
    before, ours.inference = ours.inference, replace(ours.inference, voting=False)
    yield
    ours.inference = before


@contextmanager
def without_iou(ours: Ours) -> Iterator[None]:
    """Rank and vote by the class probability alone (paper, section 3.3); the IoU loss was trained on."""
    hook = ours.detector.head.iou_logits.register_forward_hook(lambda module, given, made: torch.full_like(made, 20.0))
    yield
    hook.remove()


@contextmanager
def without_both(ours: Ours) -> Iterator[None]:
    """Leave out both."""
    with without_voting(ours), without_iou(ours):
        yield


WITHOUT = {"voting": without_voting, "IoU prediction": without_iou, "both": without_both}


def tables(lines: list[dict[str, Any]]) -> str:
    """Return a table for each start and budget: AP and AP75 of each variant, and its difference."""
    parts = []
    for start, epochs in sorted({(line["start"], line["epochs"]) for line in lines}):
        chosen = [line for line in lines if (line["start"], line["epochs"]) == (start, epochs)]
        sets = [name for name in SPLITS if any(line["data"] == name for line in chosen)]
        parts += ["", f"| {start}, {epochs} epochs | {' | '.join(sets)} |", "| --- " * (len(sets) + 1) + "|"]
        for variant in dict.fromkeys(line["variant"] for line in chosen):
            parts.append(f"| {variant} | {' | '.join(_cell(chosen, variant, data) for data in sets)} |")
    return "\n".join(parts)


def _cell(lines: list[dict[str, Any]], variant: str, data: str) -> str:
    """Return the mean AP and AP75 over the seeds, and by how much the AP differs from the reference on the same seeds.

    The reference is the base; for variants of the anchors the paper's, of 8 strides; where classes start at 0.1, that.
    """
    values = {line["seed"]: line for line in lines if line["variant"] == variant and line["data"] == data}
    reference = "prior 0.1" if variant.endswith(", prior 0.1") else "base"
    reference = "anchors 8" if variant.startswith("anchors") else reference
    base = {line["seed"]: line["AP"] for line in lines if line["variant"] == reference and line["data"] == data}
    if not values:
        return ""
    ap, ap75 = (statistics.mean(line[number] for line in values.values()) for number in ("AP", "AP75"))
    differences = [line["AP"] - base[seed] for seed, line in values.items() if seed in base]
    more = "" if variant == reference or not differences else f" ({statistics.mean(differences):+.1f})"
    return f"{ap:.1f}{more}, {ap75:.1f}"


def claims(lines: list[dict[str, Any]]) -> str:
    """Return what voting and IoU prediction are worth: by how much AP and AP75 of the base fall without each."""
    tested = [line for line in lines if line["variant"] == "base" and "without" in line]
    sets = [name for name in SPLITS if any(line["data"] == name for line in tested)]
    parts = ["", f"| the same weights without | {' | '.join(sets)} |", "| --- " * (len(sets) + 1) + "|"]
    for name in WITHOUT:
        cells = []
        for data in sets:
            runs = [line for line in tested if line["data"] == data]
            falls = (statistics.mean(run["without"][name][n] - run[n] for run in runs) for n in ("AP", "AP75"))
            cells.append(", ".join(f"{fall:+.1f}" for fall in falls))
        parts.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(parts)


def main() -> None:
    """Run what was asked for and is not in the file yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--table", action="store_true", help="print the tables of the runs in --output")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS), metavar="NAME")
    parser.add_argument("--sets", nargs="+", default=list(SPLITS))
    parser.add_argument("--starts", nargs="+", default=["imagenet"], choices=list(STARTS))
    parser.add_argument("--epochs", nargs="+", type=int, default=[12])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "docs" / "study.jsonl")
    arguments = parser.parse_args()
    if arguments.table:
        lines = [json.loads(line) for line in arguments.output.read_text().splitlines()]
        print(tables(lines))
        if any("without" in line for line in lines):
            print(claims(lines))
        return
    if arguments.data is None:
        parser.error("--data is missing")
    torch.set_num_threads(arguments.threads)
    logging.getLogger("paa").setLevel(logging.ERROR)
    runs: list[tuple[str, Cell]] = [
        (variant, Cell(data, variant.partition(":")[0] if VARIANTS[variant].peer else "PAA", start, epochs, seed))
        for epochs in arguments.epochs
        for start in arguments.starts
        for seed in arguments.seeds
        for variant in arguments.variants
        for data in arguments.sets
    ]
    for name, cell in runs:
        if has_line(arguments.output, **asdict(cell), variant=name):
            continue
        variant = VARIANTS[name]
        terms = replace(TERMS[cell.start], **variant.terms)
        make: Callable[..., Any] = variant.make
        without = {} if variant.peer else WITHOUT
        line = run_cell(cell, terms, arguments.data, make, arguments.device, True, without)
        about = {"device": arguments.device, "commit": machine.commit(), "date": date.today().isoformat()}
        append(arguments.output, {"variant": name, **line, **about})
        print(name, {key: line[key] for key in (*asdict(cell), "AP", "AP50", "AP75", "seconds")}, flush=True)


if __name__ == "__main__":
    main()
