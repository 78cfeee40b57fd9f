"""How much faster than COCO's own evaluator is ours, from arrays to the twelve numbers, and in how much less memory?

Drawn detections of 80 classes, 100 in each image, about half of them near an object; about seven objects in each, one
in a hundred a crowd. The peers, pycocotools and, where it is installed, faster-coco-eval, take lists of dicts;
making these first is timed too. All sides' twelve numbers must agree to 1e-12, or the benchmark fails.
It takes some ten minutes, nearly all of it pycocotools', which is why there are two repeats and no warm-up.

- `500000 detections`: 5,000 images, each peer in turn with ours, in this process.                   goal: ratio 1/10
- `growth`: each side in a process of its own, once. peak_mb is how far its resident memory rises above what it held
  before, with the arrays there and everything imported.
- `memory of n detections`: the same peaks against each other.                      goal at 500,000: memory_ratio 1/3

    python benchmarks/evaluation.py [--threads 1] [--repeats 2] [--largest 10000000] [--peer-largest 500000]
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from paa.data.index import DatasetIndex
from paa.evaluation.coco_results import xywh
from paa.evaluation.metrics import SUMMARY_NAMES, evaluate
from paa.inference.table import DetectionTable
from timing import compare, parse_arguments, print_growth, watch

CLASSES = 80
PER_IMAGE = 100
GROWTH = (10_000, 100_000, 500_000, 1_000_000, 10_000_000)


def draw(images: int, seed: int = 0) -> tuple[DatasetIndex, DetectionTable]:
    """Return a data set of so many images and 100 detections in each of them, in no order of score."""
    rng = np.random.default_rng(seed)

    def boxes(n: int) -> np.ndarray:
        corner, sides = rng.uniform(0, 400, (n, 2)), np.exp(rng.uniform(np.log(8), np.log(300), (n, 2)))
        return np.concatenate([corner, corner + sides], axis=1).astype(np.float32)

    counts = 1 + rng.poisson(6, images)
    offsets = np.append(0, np.cumsum(counts))
    truth = boxes(offsets[-1])
    index = DatasetIndex(
        root=Path(),
        file_names=np.zeros(images, "S1"),
        image_ids=rng.permutation(10 * images)[:images],
        sizes=np.full((images, 2), 700, np.int32),
        offsets=offsets,
        boxes=truth,
        labels=rng.integers(0, CLASSES, offsets[-1]),
        crowd=rng.random(offsets[-1]) < 0.01,
        areas=(truth[:, 2:] - truth[:, :2]).prod(axis=1),
        names=tuple(f"class {c}" for c in range(CLASSES)),
        category_ids=np.arange(CLASSES) + 1,
    )
    n = images * PER_IMAGE
    image = np.repeat(np.arange(images), PER_IMAGE)
    source = offsets[image] + rng.integers(0, counts[image])
    sides = np.tile(truth[source, 2:] - truth[source, :2], 2)
    spread = rng.choice(np.array([0.02, 0.06, 0.15], np.float32), (n, 1))
    moved = truth[source] + rng.standard_normal((n, 4), np.float32) * spread * sides
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
    near = rng.random(n) < 0.5
    labels = np.where(near, index.labels[source], rng.integers(0, CLASSES, n))
    return index, DetectionTable(
        image, np.where(near[:, None], moved, boxes(n)), rng.random(n, np.float32) / (2 - near), labels
    )


def here(index: DatasetIndex, table: DetectionTable) -> list[float | None]:
    """Return the twelve numbers."""
    return list(evaluate(index, table).metrics.summary.values())


def pycocotools(index: DatasetIndex, table: DetectionTable) -> list[float | None]:
    """Return the twelve numbers."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    return summary(COCO, COCOeval, index, table)


def faster_coco_eval(index: DatasetIndex, table: DetectionTable) -> list[float | None]:
    """Return the twelve numbers."""
    from faster_coco_eval import COCO, COCOeval_faster

    return summary(COCO, COCOeval_faster, index, table)


def summary(coco: Any, coco_eval: Any, index: DatasetIndex, table: DetectionTable) -> list[float | None]:
    """Return the twelve numbers of a peer with pycocotools' classes."""
    with contextlib.redirect_stdout(io.StringIO()):
        sides = []
        for annotations in (ground_truths(index), detections(index, table)):
            side = coco()
            side.dataset = {
                "images": [{"id": i} for i in index.image_ids.tolist()],
                "categories": [{"id": label, "name": name} for label, name in enumerate(index.names)],
                "annotations": annotations,
            }
            side.createIndex()
            sides.append(side)
        run = coco_eval(*sides, iouType="bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return [float(value) for value in run.stats[:12]]


def ground_truths(index: DatasetIndex) -> list[dict[str, Any]]:
    """Return COCO annotations; ids from 1, since pycocotools takes the id 0 for "unmatched"."""
    images = np.repeat(index.image_ids, np.diff(index.offsets))
    columns = images, index.labels, xywh(index.boxes), index.areas, index.crowd.astype(int)
    return [
        {"id": i, "image_id": image, "category_id": label, "bbox": box, "area": area, "iscrowd": crowd, "ignore": crowd}
        for i, (image, label, box, area, crowd) in enumerate(zip(*(c.tolist() for c in columns)), start=1)
    ]


def detections(index: DatasetIndex, table: DetectionTable) -> list[dict[str, Any]]:
    """Return COCO annotations with scores: what pycocotools' `loadRes` makes, without polygons."""
    boxes = xywh(table.boxes)
    columns = index.image_ids[table.image], table.labels, boxes, boxes[:, 2] * boxes[:, 3], table.scores
    return [
        {"id": i, "image_id": image, "category_id": label, "bbox": box, "area": area, "score": score, "iscrowd": 0}
        for i, (image, label, box, area, score) in enumerate(zip(*(c.tolist() for c in columns)), start=1)
    ]


Evaluator = Callable[[DatasetIndex, DetectionTable], list[float | None]]


def peers() -> dict[str, Evaluator]:
    """Return the evaluators that are installed, by name."""
    known: dict[str, Evaluator] = {"pycocotools": pycocotools, "faster-coco-eval": faster_coco_eval}
    return {name: peer for name, peer in known.items() if importlib.util.find_spec(name.replace("-", "_"))}


def check(ours: list[float | None], peer: list[float | None], name: str) -> None:
    """Raise if a number differs."""
    for number, a, b in zip(SUMMARY_NAMES, ours, peer):
        if a is None or b is None or abs(a - b) > 1e-12:
            raise AssertionError(f"{number}: {a} here, {b} by {name}")


def measure(evaluator: Evaluator, images: int) -> tuple[list[float | None], float, float]:
    """Return the twelve numbers, seconds and peak memory in MB of one evaluation in this process."""
    evaluator(*draw(2))  # imports
    index, table = draw(images)
    return watch(lambda: evaluator(index, table))


def measure_apart(evaluator: Evaluator, images: int) -> tuple[list[float | None], float, float]:
    """Return what `measure` does, in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (evaluator, images))


def growth(arguments: argparse.Namespace) -> None:
    """Print a line for each number of detections and each side, and the memory against each peer."""
    for n in GROWTH:
        if n > arguments.largest:
            break
        numbers, seconds, peak = measure_apart(here, n // PER_IMAGE)
        print_growth("evaluation", "from arrays to the twelve numbers", "detections", n, seconds, peak)
        if n > arguments.peer_largest:
            continue
        for name, peer in peers().items():
            peer_numbers, seconds, peer_peak = measure_apart(peer, n // PER_IMAGE)
            check(numbers, peer_numbers, name)
            print_growth("evaluation", "from arrays to the twelve numbers", "detections", n, seconds, peer_peak, name)
            line = {"benchmark": "evaluation", "case": f"memory of {n} detections", "ours_peak_mb": round(peak, 1)}
            line |= {"peer": name, "peer_peak_mb": round(peer_peak, 1), "memory_ratio": round(peak / peer_peak, 4)}
            print(json.dumps(line), flush=True)


def main() -> None:
    """Check and time every case."""
    arguments = parse_arguments(__doc__, repeats=2, largest=10_000_000, peer_largest=500_000)
    index, table = draw(5000)

    for name, evaluator in peers().items():

        def peer(evaluator: Evaluator = evaluator) -> list[float | None]:
            return evaluator(index, table)

        compare("evaluation", f"{len(table)} detections", lambda: here(index, table), name, peer, arguments, warm_up=0)
    growth(arguments)


if __name__ == "__main__":
    main()
