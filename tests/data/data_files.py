"""Small data sets made on the fly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from paa.data.index import DatasetIndex

SHARED = Path(__file__).parents[3] / "shared" / "data"


def shared(name: str) -> Path:
    """Return a real data set's folder, or skip the test."""
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"the data set {name} is not beside the repository (../shared/data/{name})")
    return folder


def write_image(path: Path, height: int = 60, width: int = 80, seed: int = 0) -> Path:
    """Write an image of noise (losslessly if its name ends in .png)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def coco_json(
    path: Path, annotations: Sequence[dict[str, Any]] = (), count: int = 2, write_images: bool = True, **changes: Any
) -> Path:
    """Write a COCO file of `count` images 80 wide and 60 high (ids 1, 2, ...) and categories 3 "cat", 7 "dog"."""
    data = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 60, "width": 80} for i in range(1, count + 1)],
        "annotations": list(annotations),
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        **changes,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    for i in range(1, count + 1):
        if write_images:
            write_image(path.parent / "images" / f"{i}.png", seed=i)
    return path


def box(number: int, image: Any, xywh: Sequence[Any], category: Any = 3, **more: Any) -> dict[str, Any]:
    """Return a COCO annotation."""
    return {"id": number, "image_id": image, "category_id": category, "bbox": list(xywh), **more}


def make_index(folder: Path, sizes: Sequence[tuple[int, int]], boxes_each: int = 2) -> DatasetIndex:
    """Write PNG images of these (height, width); each has `boxes_each` boxes at random."""
    random = np.random.default_rng(0)
    boxes = []
    for i, (height, width) in enumerate(sizes):
        write_image(folder / f"{i}.png", height, width, seed=i)
        for _ in range(boxes_each):
            x, y = sorted(random.uniform(0, width - 1, 2)), sorted(random.uniform(0, height - 1, 2))
            boxes.append((x[0], y[0], x[1] + 1, y[1] + 1))  # a pixel at least
    count = len(boxes)
    return DatasetIndex(
        root=folder,
        file_names=np.array([f"{i}.png" for i in range(len(sizes))], np.bytes_),
        image_ids=np.arange(len(sizes)) + 1,
        sizes=np.array(sizes, np.int32).reshape(-1, 2),
        offsets=np.arange(len(sizes) + 1) * boxes_each,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.arange(count) % 3,
        crowd=np.zeros(count, np.bool_),
        areas=np.ones(count, np.float32),
        names=("a", "b", "c"),
        category_ids=np.arange(3) + 1,
    )
