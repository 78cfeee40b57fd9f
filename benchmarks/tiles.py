"""What are tiles worth for small objects in large images, in training and in detection, against whole images?

Draws a data set of large images with small shapes, trains one small detector on whole images and one on tiles, from
scratch and for equally many steps of equally many pixels, and evaluates both with and without tiles. The numbers are
COCO's on the original images; every fifth image is for validation. `counted again`: detections of a score of 0.3 or
more that lie on an object which has one already, for each object. Lines `merging: ...` compare ways to merge what the
tiles find, by the detector trained on tiles.

    python benchmarks/tiles.py [--images 40] [--side 2000] [--largest 60] [--tile 256] [--steps 600] [--folder FOLDER]
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image, ImageDraw

from paa.config import (
    AugmentConfig,
    DataConfig,
    LoadingConfig,
    Recipe,
    RuntimeConfig,
    TilesConfig,
    TrainTilesConfig,
    ValidationConfig,
)
from paa.core.merging import merge_views
from paa.core.postprocess import DetectedBatch
from paa.core.selection import Candidates
from paa.data.index import DatasetIndex
from paa.data.read import read_dataset
from paa.data.shapes import NAMES, Drawn, outline, write_shapes
from paa.evaluation.dataset import evaluate_dataset
from paa.inference import tiles as inference_tiles
from paa.inference.table import DetectionTable
from paa.predictor import load
from paa.recipes import RECIPES
from paa.runtime.distributed import Process, start
from paa.training.settings import TrainConfig
from paa.training.train import train
from timing import parse_arguments

SMALLEST = 20  # pixels, the diameter of the circle around a shape
OBJECTS = 20  # for each million pixels
EMPTY = 0.25
SURE = 0.3  # score from which a detection is counted
OVERLAP = 0.25  # 64 pixels of 256, more than any shape
CONTRAST = 90  # least distance of a shape's colour from the background's, as in `make_shapes`
_SCALE = 4  # shapes are drawn at this multiple of their size, then averaged down


def draw_image(random: np.random.Generator, side: int, largest: int) -> Drawn:
    """Draw a square image of small shapes that do not touch, lines, and blobs smaller than any shape."""
    base = random.integers(40, 216, 3)
    coarse = np.clip(base + random.normal(0, 12, (8, 8, 3)), 0, 255).astype(np.uint8)
    canvas = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(canvas)
    count = round(OBJECTS * side * side / 1e6)
    for _ in range(count):
        draw.line((random.uniform(0, side, 4)).tolist(), fill=color(random), width=int(random.integers(1, 4)))
        (x, y), (w, h) = random.uniform(0, side, 2), random.uniform(1, 5, 2)
        draw.ellipse((x - w, y - h, x + w, y + h), fill=color(random))
    boxes: list[tuple[float, float, float, float]] = []
    labels: list[int] = []
    centers = np.zeros((0, 3))
    for _ in range(count):
        radius = math.exp(random.uniform(math.log(SMALLEST), math.log(largest))) / 2
        x, y = random.uniform(radius + 1, side - radius - 1, 2)
        if (np.hypot(centers[:, 0] - x, centers[:, 1] - y) < centers[:, 2] + radius + 2).any():
            continue
        centers = np.append(centers, [[x, y, radius]], axis=0)
        label, fill = int(random.integers(len(NAMES))), color(random)
        while np.linalg.norm(np.subtract(fill, canvas.getpixel((x, y)))) < CONTRAST:
            fill = color(random)
        left, top = int(x - radius) - 1, int(y - radius) - 1
        mask = shape_mask(label, x - left, y - top, radius, random.uniform(-0.35, 0.35))
        rows, columns = np.flatnonzero(mask.any(axis=1)) / _SCALE, np.flatnonzero(mask.any(axis=0)) / _SCALE
        edge = 1 / _SCALE
        boxes.append((left + columns[0], top + rows[0], left + columns[-1] + edge, top + rows[-1] + edge))
        labels.append(label)
        canvas.paste(fill, (left, top), Image.fromarray(mask).convert("L").reduce(_SCALE))
    noise = random.normal(0, random.uniform(2, 12), (side, side)).astype(np.float32)
    image = np.clip(np.asarray(canvas, np.float32) + noise[:, :, None], 0, 255).astype(np.uint8)
    return image, np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64)


def shape_mask(label: int, x: float, y: float, radius: float, turn: float) -> np.ndarray:
    """Return which pixels of a square, at `_SCALE` times its size, belong to a shape with its centre at (x, y)."""
    side = (math.ceil(2 * radius) + 3) * _SCALE
    image = Image.new("1", (side, side))
    draw, x, y, radius = ImageDraw.Draw(image), x * _SCALE, y * _SCALE, radius * _SCALE
    if label == 0:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)
    else:
        draw.polygon(outline(label, x, y, radius, turn), fill=1)
    return np.array(image)


def color(random: np.random.Generator) -> tuple[int, int, int]:
    """Return any colour."""
    red, green, blue = random.integers(0, 256, 3).tolist()
    return red, green, blue


def make_images(folder: Path, images: int, side: int, largest: int) -> Path:
    """Draw the data set, unless the folder has it already."""
    if not (folder / "val.json").exists():
        write_shapes(folder, (draw_image(np.random.default_rng([0, i]), side, largest) for i in range(images)))
    return folder


def trained(data: Path, output: Path, tile: int, steps: int, tiles: TrainTilesConfig | None, process: Process) -> Path:
    """Train, unless that was done already, and return the checkpoint; every image or tile becomes `tile` pixels."""
    if (output / "last.pt").exists():
        return output / "last.pt"
    nano = RECIPES["r18_nano"]
    recipe = Recipe(
        replace(nano.model, min_size=tile, max_size=tile),
        AugmentConfig(min_sizes=(tile,), max_size=tile, color_jitter=0.2, tiles=tiles),
        replace(nano.schedule, steps=steps),
    )
    runtime = RuntimeConfig(device=str(process.device), precision="auto", workers=1)
    validation = ValidationConfig(batch_size=0)
    config = TrainConfig(DataConfig(data), output, recipe, 8, validation=validation, runtime=runtime)
    return train(config, process).last


def evaluate(
    checkpoint: Path, index: DatasetIndex, tiles: TilesConfig | None, process: Process, **more: object
) -> dict[str, float | None]:
    """Return COCO's numbers that matter here, how often objects are counted again, and the seconds for an image."""
    model = load(checkpoint, str(process.device))
    model.optimise()
    config = replace(model.inference, max_detections=500, tiles=tiles, **more)
    started = time.perf_counter()
    evaluated = evaluate_dataset(model, index, process, config, LoadingConfig(workers=0, batch_size=1))
    seconds = (time.perf_counter() - started) / len(index)
    assert evaluated is not None  # this is one process
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR500")
    numbers = {name: evaluated.metrics.summary.get(name) for name in names}
    rounded = {name: None if value is None else round(value, 4) for name, value in numbers.items()}
    again = counted_again(index, evaluated.table)
    return {**rounded, "counted_again": round(again, 4), "seconds_an_image": round(seconds, 2)}


def counted_again(index: DatasetIndex, table: DetectionTable) -> float:
    """Return how many sure detections an object has beside its first one, in the mean over all objects.

    A detection is on an object of its class if half of the smaller of the two boxes is in the other.
    """
    more, table = 0, table.select(table.scores >= SURE)
    for i in range(len(index)):
        boxes, labels = index.targets(i)
        found = table.select(table.image == i)
        low = np.maximum(boxes[:, None, :2], found.boxes[None, :, :2])
        high = np.minimum(boxes[:, None, 2:], found.boxes[None, :, 2:])
        areas = [(b[:, 2:] - b[:, :2]).prod(1) for b in (boxes, found.boxes)]
        on = (high - low).clip(0).prod(2) >= 0.5 * np.minimum(areas[0][:, None], areas[1][None])
        more += int(((on & (labels[:, None] == found.labels)).sum(1) - 1).clip(0).sum())
    return more / len(index.boxes)


def clusters(candidates: Candidates, sizes: torch.Tensor, **options: Any) -> DetectedBatch:
    """Merge as multi-scale testing does by `vote`, in place of NMS and score voting."""
    columns = merge_views(*(column[0] for column in candidates), threshold=options["nms_iou"], soft=False)
    return DetectedBatch(*(column[None, : options["limit"]] for column in columns))


def no_rule(boxes: torch.Tensor, *others: object) -> tuple[torch.Tensor, torch.Tensor]:
    """Say of no box that a border cuts it."""
    return torch.zeros_like(boxes[:, 0], dtype=torch.bool), torch.zeros_like(boxes[:, 0], dtype=torch.bool)


MERGING: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "as it is": ({}, {}),
    "boxes at borders stay": ({"borders": no_rule}, {}),
    "margin 0": ({"_MARGIN": 0.0}, {}),
    "margin 1/128": ({"_MARGIN": 1 / 128}, {}),
    "margin 1/32": ({"_MARGIN": 1 / 32}, {}),
    "parts in larger boxes stay": ({"_COVERED": 2.0}, {}),
    "no voting": ({}, {"voting": False}),
    "clusters of vote": ({"suppress_and_vote": clusters}, {}),
    "NMS at 0.5": ({}, {"nms_iou": 0.5}),
}
"""Name -> what replaces names of `paa.inference.tiles`, and other values of the inference configuration."""


@contextmanager
def remembered() -> Iterator[None]:
    """Detect in each part of an image once only, however often it is asked for."""
    known: dict[object, object] = {}
    detect: Callable[..., object] = inference_tiles._detect_parts

    def detect_parts(detector: object, image: torch.Tensor, parts: torch.Tensor, config: Any) -> object:
        key = (int(image.sum()), str(parts.tolist()), config.voting, config.nms_iou)
        if key not in known:
            known[key] = detect(detector, image, parts, config)
        return known[key]

    with mock.patch.object(inference_tiles, "_detect_parts", detect_parts):
        yield


def show(case: str, numbers: dict[str, float | None]) -> None:
    """Print a line."""
    print(json.dumps({"benchmark": "tiles", "case": case, **numbers}), flush=True)


def main() -> None:
    """Draw, train twice, evaluate."""
    arguments = parse_arguments(__doc__, images=40, side=2000, largest=60, tile=256, steps=600, folder="")
    folder = Path(arguments.folder or tempfile.mkdtemp(prefix="paa-tiles-"))
    images, side, largest, tile = arguments.images, arguments.side, arguments.largest, arguments.tile
    data = make_images(folder / f"images-{images}-{side}-{largest}", images, side, largest)
    tiles = TrainTilesConfig(tile, OVERLAP, empty=EMPTY)
    with start(arguments.device) as process:
        index = read_dataset(data, "val")
        for name, used in (("tiles", tiles), ("whole images", None)):
            started = time.perf_counter()
            output = folder / f"run-{name.split()[0]}-{largest}-{tile}-{arguments.steps}"
            checkpoint = trained(data, output, tile, arguments.steps, used, process)
            show(f"training on {name}", {"seconds": round(time.perf_counter() - started)})
            show(f"trained on {name}, tiles", evaluate(checkpoint, index, tiles, process))
            without = replace(tiles, whole=False)
            show(f"trained on {name}, tiles without the whole image", evaluate(checkpoint, index, without, process))
            show(f"trained on {name}, whole images", evaluate(checkpoint, index, None, process))
            if used is None:
                continue
            with remembered():
                for case, (replaced, changed) in MERGING.items():
                    with mock.patch.dict(vars(inference_tiles), replaced):
                        numbers = evaluate(checkpoint, index, tiles, process, **changed)
                    del numbers["seconds_an_image"]  # most tiles are looked at only once
                    show(f"merging: {case}", numbers)


if __name__ == "__main__":
    main()
