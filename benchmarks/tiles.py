"""What are tiles worth for small objects in large images, in training and in detection, against whole images?

Draws a data set of large images with small shapes, trains one small detector on whole images and one on tiles, from
scratch and for equally many steps of equally many pixels, and evaluates both with and without tiles. The numbers are
COCO's on the original images; every fifth image is for validation. `merging` lines compare ways to merge what the tiles
find.

    python benchmarks/tiles.py [--images 40] [--side 2000] [--tile 256] [--steps 400] [--folder FOLDER]
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
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
from paa.data.index import DatasetIndex
from paa.data.read import read_dataset
from paa.data.shapes import NAMES, Drawn, outline, write_shapes
from paa.evaluation.dataset import evaluate_dataset
from paa.predictor import load
from paa.recipes import RECIPES
from paa.runtime.distributed import Process, start
from paa.training.settings import TrainConfig
from paa.training.train import train
from timing import parse_arguments

SMALLEST, LARGEST = 20, 60  # pixels, the diameter of the circle around a shape
OBJECTS = 8  # for each million pixels
OVERLAP = 0.25  # 64 pixels of 256, more than any shape
CONTRAST = 90  # least distance of a shape's colour from the background's, as in `make_shapes`
_SCALE = 4  # shapes are drawn at this multiple of their size, then averaged down


def draw_image(random: np.random.Generator, side: int, largest: int = LARGEST) -> Drawn:
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


def make_images(folder: Path, images: int, side: int, largest: int = LARGEST) -> Path:
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
    config = TrainConfig(DataConfig(data), output, recipe, 8, ValidationConfig(batch_size=0), runtime)
    return train(config, process).last


def evaluate(
    checkpoint: Path, index: DatasetIndex, tiles: TilesConfig | None, process: Process, **more: object
) -> dict[str, float | None]:
    """Return COCO's numbers that matter here, and the seconds of detection for an image."""
    model = load(checkpoint, str(process.device))
    model.optimise()
    config = replace(model.inference, max_detections=300, tiles=tiles, **more)
    started = time.perf_counter()
    evaluated = evaluate_dataset(model, index, process, config, LoadingConfig(workers=0, batch_size=1))
    seconds = (time.perf_counter() - started) / len(index)
    assert evaluated is not None  # this is one process
    names = ("AP", "AP50", "AP75", "APs", "APm", "AR300")
    numbers = {name: evaluated.metrics.summary.get(name) for name in names}
    rounded = {name: None if value is None else round(value, 4) for name, value in numbers.items()}
    return {**rounded, "detections": len(evaluated.table), "seconds_an_image": round(seconds, 2)}


def show(case: str, numbers: dict[str, float | None]) -> None:
    """Print a line."""
    print(json.dumps({"benchmark": "tiles", "case": case, **numbers}), flush=True)


def main() -> None:
    """Draw, train twice, evaluate."""
    arguments = parse_arguments(__doc__, images=40, side=2000, tile=256, steps=400, folder="")
    folder = Path(arguments.folder or tempfile.mkdtemp(prefix="paa-tiles-"))
    data = make_images(folder / f"images-{arguments.images}-{arguments.side}", arguments.images, arguments.side)
    tiles = TrainTilesConfig(arguments.tile, OVERLAP)
    with start(arguments.device) as process:
        index = read_dataset(data, "val")
        for name, used in (("tiles", tiles), ("whole images", None)):
            output = folder / f"run-{name.split()[0]}-{arguments.tile}-{arguments.steps}"
            started = time.perf_counter()
            checkpoint = trained(data, output, arguments.tile, arguments.steps, used, process)
            show(f"training on {name}", {"seconds": round(time.perf_counter() - started)})
            show(f"trained on {name}, tiles", evaluate(checkpoint, index, tiles, process))
            show(f"trained on {name}, whole images", evaluate(checkpoint, index, None, process))


if __name__ == "__main__":
    main()
