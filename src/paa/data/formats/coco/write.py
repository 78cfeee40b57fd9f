"""Writing a data set as COCO JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from paa.data.formats.interface import Writer
from paa.data.index import DatasetIndex


def write_coco(index: DatasetIndex, path: Path) -> None:
    """Write an index as COCO JSON; reading the file gives the same columns."""
    images = [
        {"id": i, "file_name": bytes(name).decode("utf-8", "surrogateescape"), "height": height, "width": width}
        for i, name, (height, width) in zip(index.image_ids.tolist(), index.file_names, index.sizes.tolist())
    ]
    boxes = index.boxes.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    columns = {
        "id": range(1, len(boxes) + 1),
        "image_id": np.repeat(index.image_ids, np.diff(index.offsets)).tolist(),
        "category_id": index.category_ids[index.labels].tolist(),
        "bbox": boxes.tolist(),
        "area": index.areas.tolist(),
        "iscrowd": index.crowd.astype(int).tolist(),
    }
    annotations = [dict(zip(columns, row)) for row in zip(*columns.values())]
    categories = [{"id": i, "name": name} for i, name in zip(index.category_ids.tolist(), index.names)]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def write_splits(folder: Path, splits: Mapping[str, DatasetIndex]) -> None:
    """Write annotations/instances_SPLIT.json for each split, whose images are in images/SPLIT."""
    (folder / "annotations").mkdir()
    for split, index in splits.items():
        write_coco(index, folder / "annotations" / f"instances_{split}.json")


def _cannot_hold(splits: Mapping[str, DatasetIndex]) -> list[str]:
    return []


WRITER = Writer("COCO", lambda split: f"images/{split}", False, write_splits, _cannot_hold)
