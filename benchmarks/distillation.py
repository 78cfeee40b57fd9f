"""What does a teacher's assignment give a student (LAD, Nguyen et al. 2021, arXiv 2108.10520)?

This project's detector is trained for several times as many epochs as a student: the teacher. With a larger backbone
(--teacher-backbone efficientnet_lite2) it is trained as the recipe `auto` trains, with jitter, mosaics and the backbone
at the learning rate of the rest, otherwise on the terms of accuracy.py. On these, students are trained for 12 epochs
with each seed, and the teacher's predictions decide their assignment, as in `paa train --teacher`. The runs without a
teacher are those of docs/accuracy.jsonl, with the same seeds, images and steps. The teacher is kept in --teachers; a
run that is in the file already is not run again.

    python benchmarks/distillation.py --data DIR --teachers DIR [--sets raccoon] [--teacher-epochs 48]
        [--teacher-backbone efficientnet_lite0] [--seeds 0 1 2] [--output docs/distillation.jsonl]
    python benchmarks/distillation.py --table   # prints the table of docs/elsewhere.md
    python benchmarks/distillation.py --step --data DIR --teachers DIR   # what a step costs with a teacher and without
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import machine
from accuracy import TERMS, Cell, append, has_line, read_splits, run_cell
from accuracy_detectors import STARTS, Ours, Start, Terms, from_imagenet, make_ours
from paa.config import AugmentConfig, WorkerConfig
from paa.core import PaaAssigner
from paa.data.augment import TrainTransform
from paa.data.batch import Batch
from paa.data.index import DatasetIndex
from paa.data.loader import train_loader
from paa.data.sampling import Sampling
from paa.model.detector import Detector
from paa.model.prepare import prepare_for_device
from paa.runtime.distributed import Process
from paa.training.run_folder import save_checkpoint
from paa.training.teacher import Teacher
from paa.weights.formats import own
from paa.weights.read import build, read_weights

DOCS = Path(__file__).parents[1] / "docs"
NUMBERS = ("AP", "AP50", "AP75")
ALONE, TAUGHT, TEACHER = "PAA", "PAA, taught", "PAA, teacher"
STUDENT_BACKBONE = "efficientnet_lite0"
AS_AUTO = Terms(backbone_lr_factor=1.0, scale_jitter=(0.7, 1.4), color_jitter=0.2, mosaic=0.5)
"""What a larger teacher is trained by, which docs/results.md found best for long runs."""


def train_teacher(cell: Cell, backbone: str, data: Path, file: Path, device: str) -> dict[str, Any]:
    """Train a teacher with that backbone, and keep it in a file; return the line of the run."""
    trained: list[Detector] = []

    def make(start: Start, index: DatasetIndex, terms: Terms) -> Ours:
        made = make_ours(start if backbone == STUDENT_BACKBONE else from_imagenet(backbone), index, terms)
        trained.append(made.detector)
        return made

    line = run_cell(cell, TERMS[cell.start] if backbone == STUDENT_BACKBONE else AS_AUTO, data, make, device)
    (detector,) = trained
    file.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(file, own.write(detector.config, detector.names, detector.state_dict()))
    return line


def read_teacher(file: Path) -> Teacher:
    """Return the teacher in a file."""
    detector = build(read_weights(file), str(file), Detector).requires_grad_(False)
    prepare_for_device(detector, channels_last=True, fast_convolutions=True)
    return Teacher(detector, PaaAssigner(), "float32")


def make_taught(teacher: Teacher, start: Start, index: DatasetIndex, terms: Terms) -> Ours:
    """Return this project's detector, whose assignment the teacher decides."""
    student = make_ours(start, index, terms)
    assert student.detector.config.anchor_scale == teacher.detector.config.anchor_scale
    own_losses = student.losses

    def losses(batch: Batch) -> Tensor:
        student.assigner = teacher.assign(batch)
        return own_losses(batch)

    student.losses = losses  # type: ignore[method-assign]
    return student


def table(lines: list[dict[str, Any]]) -> str:
    """Return AP, AP50 and AP75 of teacher and students on each set: means over the seeds, least and greatest value."""
    rows = ["| | seeds | AP | AP50 | AP75 |", "| --- | --- | --- | --- | --- |"]
    lines = [line for line in lines if line["start"] == "imagenet"]
    taught_by = [(line["data"], line["teacher"]) for line in lines if line["detector"] == TAUGHT]
    for data, backbone in dict.fromkeys(taught_by):
        own = [line for line in lines if line["data"] == data and line.get("teacher", backbone) == backbone]
        taught = {line["seed"] for line in own if line["detector"] == TAUGHT}
        for name in (TEACHER, ALONE, TAUGHT):
            runs = [line for line in own if line["detector"] == name]
            runs = [line for line in runs if name == TEACHER or (line["epochs"] == 12 and line["seed"] in taught)]
            values = [[run[number] for run in runs] for number in NUMBERS]
            cells = [f"{statistics.mean(each):.1f} ({min(each):.1f} to {max(each):.1f})" for each in values]
            if len(values[0]) == 1:
                cells = [f"{each[0]:.1f}" for each in values]
            seeds = ", ".join(str(run["seed"]) for run in sorted(runs, key=lambda run: run["seed"]))
            title = f"{name} ({backbone})" if name != ALONE else name
            rows.append(f"| {data}: {title}, {runs[0]['epochs']} epochs | {seeds} | {' | '.join(cells)} |")
    return "\n".join(rows)


def step_costs(data: Path, teacher: Teacher, steps: int = 12) -> dict[str, float]:
    """Return the median CPU seconds of a training step alone and with the teacher, on the same batches in turn."""
    terms, (train, _) = TERMS["imagenet"], read_splits(data, development=False)
    torch.manual_seed(0)
    student = make_ours(STARTS["imagenet"](), train, terms).train()
    augment = AugmentConfig((terms.size,), terms.max_size, terms.hflip)
    sampling = Sampling(terms.batch_size, steps + 2, seed=0)
    loader = train_loader(
        train, TrainTransform(augment), sampling, Process(torch.device("cpu")), WorkerConfig(workers=0)
    )
    seconds: dict[str, list[float]] = {"alone": [], "taught": []}
    for number, batch in enumerate(loader):
        for name in seconds:
            started = time.process_time()
            student.assigner = PaaAssigner() if name == "alone" else teacher.assign(batch)
            student.losses(batch).backward()
            if number > 1:
                seconds[name].append(time.process_time() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    """Run what was asked for and is not in the file yet, or print the table or the cost of a step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--teachers", type=Path, help="folder of the trained teachers")
    parser.add_argument("--table", action="store_true", help="print the table of the runs in --output")
    parser.add_argument("--step", action="store_true", help="measure a step with a teacher and without")
    parser.add_argument("--sets", nargs="+", default=["raccoon"])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--teacher-epochs", type=int, default=48)
    parser.add_argument("--teacher-backbone", default=STUDENT_BACKBONE)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=DOCS / "distillation.jsonl")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    if arguments.table:
        files = (DOCS / "accuracy.jsonl", arguments.output)
        print(table([json.loads(line) for file in files for line in file.read_text().splitlines()]))
        return
    if arguments.data is None or arguments.teachers is None:
        parser.error("--data and --teachers are missing")
    device = arguments.device
    torch.set_num_threads(1)
    logging.getLogger("paa").setLevel(logging.ERROR)
    for data in arguments.sets:
        backbone, epochs = arguments.teacher_backbone, arguments.teacher_epochs
        file = arguments.teachers / f"{data}-{backbone}-{epochs}.pt"
        if not file.exists():
            line = train_teacher(Cell(data, TEACHER, "imagenet", epochs, 0), backbone, arguments.data, file, device)
            _write(arguments.output, {**line, "teacher": backbone}, device)
        teacher = read_teacher(file)
        if arguments.step:
            costs = step_costs(arguments.data / data, teacher)
            print(data, costs, f"ratio {costs['taught'] / costs['alone']:.2f}")
            continue
        teacher.detector.to(device)
        for seed in arguments.seeds:
            cell = Cell(data, TAUGHT, "imagenet", arguments.epochs, seed)
            about_teacher = {"teacher": backbone, "teacher_epochs": epochs}
            if not has_line(arguments.output, **asdict(cell), **about_teacher):
                make = lambda *given, teacher=teacher: make_taught(teacher, *given)  # noqa: E731
                line = run_cell(cell, TERMS["imagenet"], arguments.data, make, device)
                _write(arguments.output, {**line, **about_teacher}, device)


def _write(path: Path, line: dict[str, Any], device: str) -> None:
    """Add a line with the machine and the commit to the file, and print its numbers."""
    about = {"machine": machine.describe(device), "commit": machine.commit(), "date": date.today().isoformat()}
    append(path, {**line, **about})
    print({name: line[name] for name in ("data", "detector", "epochs", "seed", *NUMBERS, "seconds")}, flush=True)


if __name__ == "__main__":
    main()
