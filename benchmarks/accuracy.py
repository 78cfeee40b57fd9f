"""How good is the detector on small real data sets, against torchvision's, all on equal terms?

Four data sets (bccd, raccoon, cards, microcontrollers: folders with these names in --data), four detectors, two starts
(ImageNet weights, random weights), two budgets (12 and 48 epochs), three seeds. Every detector gets the same backbone,
width, batches (the same images in the same order, flipped alike), optimizer and learning rates; see
accuracy_detectors.py. Every run is one JSON line with COCO's twelve numbers on the test images, by pycocotools, at
several steps. The last step's numbers are the result, never the best. A run that is in the file already is not run
again, so that the benchmark can be stopped and continued.

    python benchmarks/accuracy.py --data DIR [--sets bccd ...] [--detectors PAA ...] [--starts imagenet] [--epochs 12]
        [--seeds 0 1 2] [--device cuda] [--threads 1] [--output docs/accuracy.jsonl]

`--development` takes a fifth of the training images, chosen by their names, in place of the test images: whatever is
chosen by numbers is chosen by these. Its lines are marked, and belong into another file.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn
from torch.optim import AdamW

import machine
from accuracy_detectors import DETECTORS, STARTS, Found, Ours, Start, Terms, TorchvisionPeer
from paa.config import AugmentConfig, LoadingConfig, WorkerConfig
from paa.data.augment import TrainTransform
from paa.data.index import DatasetIndex
from paa.data.loader import eval_loader, train_loader
from paa.data.read import read_dataset
from paa.data.sampling import Sampling
from paa.data.transforms import Resize
from paa.evaluation.coco_results import xywh
from paa.runtime.distributed import Process
from paa.training.average import WeightAverage

Contender = Ours | TorchvisionPeer
Maker = Callable[[Start, DatasetIndex, Terms], Contender]

SPLITS = {
    "bccd": ("trainval", "test"),
    "raccoon": ("train", "val"),
    "cards": ("train", "test"),
    "microcontrollers": ("train", "test"),
}
"""The splits of each data set that are trained on and tested on; another data set has train and test."""

NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


@dataclass(frozen=True)
class Cell:
    """One run."""

    data: str
    detector: str
    start: str
    epochs: int
    seed: int


TERMS = {
    "imagenet": Terms(),
    "random": Terms(lr=1e-3, backbone_lr_factor=1.0),
}
"""The terms of each start."""


def run_cell(
    cell: Cell,
    terms: Terms,
    data: Path,
    make: Maker,
    device: str,
    development: bool = False,
    without: Mapping[str, Callable[[Any], AbstractContextManager[object]]] = {},
) -> dict[str, Any]:
    """Train and test one detector; return the line of the run.

    without: contexts in which a part of the detector is off; the trained detector is tested in each too.
    """
    train, test = read_splits(data / cell.data, development)
    torch.manual_seed(cell.seed)
    contender = make(STARTS[cell.start](), train, terms).to(device).train()
    optimizer = make_optimizer(contender, terms)
    steps = max(1, round(cell.epochs * len(train) / terms.batch_size))
    augment = AugmentConfig(
        (terms.size,),
        terms.max_size,
        terms.hflip,
        scale_jitter=terms.scale_jitter,
        color_jitter=terms.color_jitter,
        mosaic=terms.mosaic,
    )
    process = Process(torch.device(device))
    loader = train_loader(
        train,
        TrainTransform(augment),
        Sampling(terms.batch_size, steps, seed=cell.seed),
        process,
        WorkerConfig(workers=0 if device == "cpu" else 4),
    )
    due = {round(steps * (i + 1) / terms.evaluations) for i in range(terms.evaluations)}
    average = WeightAverage(contender.detector, terms.average) if terms.average else None
    curve, seconds, started = [], 0.0, time.perf_counter()
    for step, batch in enumerate(loader):
        for group in optimizer.param_groups:
            group["lr"] = terms.lr_at(step, steps) * group["factor"]
        loss = contender.losses(batch.to(process.device))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(contender.parameters(), terms.clip_norm)
        optimizer.step()
        if average is not None:
            average.update(step)
        if step + 1 in due:
            seconds += time.perf_counter() - started
            numbers = evaluate(contender.eval(), test, terms, process)
            curve.append({"step": step + 1, "loss": round(float(loss.detach()), 4), **numbers})
            contender.train()
            started = time.perf_counter()
    contender.eval()
    parts = {}
    for name, part_off in without.items():
        with part_off(contender):
            parts[name] = evaluate(contender, test, terms, process)
    if average is not None:
        contender.detector = average.detector
        parts["with averaged weights"] = evaluate(contender, test, terms, process)
    return {
        **asdict(cell),
        **{name: curve[-1][name] for name in NUMBERS},
        **({"without": parts} if parts else {}),
        "development": development,
        "images": [len(train), len(test)],
        "steps": steps,
        "seconds": round(seconds, 1),
        "curve": curve,
        "terms": asdict(terms),
        "anchor_scale": contender.detector.config.anchor_scale if isinstance(contender, Ours) else None,
        "first_level": contender.detector.config.first_level if isinstance(contender, Ours) else None,
    }


def read_splits(path: Path, development: bool) -> tuple[DatasetIndex, DatasetIndex]:
    """Return the images to train on and those to test on."""
    splits = SPLITS.get(path.name, ("train", "test"))
    train = read_dataset(path, splits[0])
    if not development:
        return train, read_dataset(path, splits[1], names=train.names)
    held_out = np.array([digest(train.path(i).stem) < 0.2 for i in range(len(train))])
    return train.select(np.flatnonzero(~held_out)), train.select(np.flatnonzero(held_out))


def digest(name: str) -> float:
    """Return a number from 0 to 1 that depends on a name alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / 2**48


def make_optimizer(contender: Contender, terms: Terms) -> AdamW:
    """Return AdamW: no decay of vectors, the backbone at its share of the learning rate."""
    backbone = {id(parameter) for parameter in contender.backbone.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in contender.parameters():
        if parameter.requires_grad:
            factor = terms.backbone_lr_factor if id(parameter) in backbone else 1.0
            decay = terms.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((factor, decay), []).append(parameter)
    return AdamW(
        [{"params": each, "factor": factor, "weight_decay": decay} for (factor, decay), each in groups.items()]
    )


def evaluate(contender: Contender, index: DatasetIndex, terms: Terms, process: Process) -> dict[str, float | None]:
    """Return COCO's twelve numbers by pycocotools, in percent; None where there is no object of that size."""
    found: Found = []
    positions: list[int] = []
    for batch in eval_loader(index, Resize(terms.size, terms.max_size), process, LoadingConfig(workers=0)):
        found += contender.detect(batch.to(process.device))
        positions += batch.positions.tolist()
    results = [
        {"image_id": image + 1, "category_id": label, "bbox": box, "score": score}
        for image, (boxes, scores, labels) in zip(positions, found)
        for box, score, label in zip(xywh(boxes.numpy()).tolist(), scores.tolist(), labels.tolist())
    ]
    if not results:
        return dict.fromkeys(NUMBERS, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = as_coco(index)
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    values = [float(value) for value in evaluation.stats]
    return {name: round(100 * value, 3) if value >= 0 else None for name, value in zip(NUMBERS, values)}


def as_coco(index: DatasetIndex) -> dict[str, Any]:
    """Return a data set as COCO's dictionary; images are numbered from 1 by position, classes from 0."""
    images = np.repeat(np.arange(len(index)), np.diff(index.offsets)) + 1
    columns = (
        images.tolist(),
        index.labels.tolist(),
        xywh(index.boxes).tolist(),
        index.areas.tolist(),
        index.crowd.tolist(),
    )
    return {
        "info": {},
        "images": [{"id": i + 1} for i in range(len(index))],
        "categories": [{"id": label, "name": name} for label, name in enumerate(index.names)],
        "annotations": [
            {"id": i + 1, "image_id": image, "category_id": label, "bbox": box, "area": area, "iscrowd": int(crowd)}
            for i, (image, label, box, area, crowd) in enumerate(zip(*columns))
        ],
    }


def has_line(path: Path, **wanted: Any) -> bool:
    """Return whether the file has a line with these values: whether a run is done."""
    lines = path.read_text().splitlines() if path.exists() else []
    return any(wanted.items() <= json.loads(line).items() for line in lines)


def main() -> None:
    """Run what was asked for and is not in the file yet; shortest budgets first, detectors in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--sets", nargs="+", default=list(SPLITS))
    parser.add_argument("--detectors", nargs="+", default=list(DETECTORS), choices=list(DETECTORS))
    parser.add_argument("--starts", nargs="+", default=list(STARTS), choices=list(STARTS))
    parser.add_argument("--epochs", nargs="+", type=int, default=[12, 48])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="two runs with one thread are faster than one with two")
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "docs" / "accuracy.jsonl")
    parser.add_argument("--development", action="store_true", help="test on a fifth of the training images")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    logging.getLogger("paa").setLevel(logging.ERROR)
    cells = [
        Cell(data, detector, start, epochs, seed)
        for epochs in arguments.epochs
        for start in arguments.starts
        for seed in arguments.seeds
        for data in arguments.sets
        for detector in arguments.detectors
    ]
    for cell in cells:
        if has_line(arguments.output, **asdict(cell), development=arguments.development):
            continue
        terms = TERMS[cell.start]
        terms = replace(terms, evaluations=4 if cell.epochs <= 12 else 8)
        make = DETECTORS[cell.detector]
        line = run_cell(cell, terms, arguments.data, make, arguments.device, arguments.development)
        about = {
            "device": arguments.device,
            "threads": arguments.threads,
            "machine": machine.describe(arguments.device),
        }
        about |= {"commit": machine.commit(), "date": date.today().isoformat()}
        append(arguments.output, {**line, **about})
        print({name: line[name] for name in (*asdict(cell), "AP", "AP50", "AP75", "seconds")}, flush=True)


def append(path: Path, line: dict[str, Any]) -> None:
    """Add a line to the file at once, so that two benchmarks can write to the same file."""
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


if __name__ == "__main__":
    main()
