"""COCO's result file, and the images and detections that an evaluation takes into account."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from paa.data.index import DatasetIndex
from paa.errors import ConfigError
from paa.inference.table import DetectionTable
from paa.runtime.files import write_text


def evaluated(
    index: DatasetIndex, table: DetectionTable, images: npt.NDArray[np.int64] | None
) -> tuple[DatasetIndex, DetectionTable]:
    """Return the data set with only these images (positions; default: all), by image id, and its detections.

    Raises ConfigError if a label is not a class of the data set, ValueError if a position is not an image of it.
    """
    if len(table) and not 0 <= table.labels.min() <= table.labels.max() < len(index.names):
        raise ConfigError(
            f"a detection has label {table.labels.max()}, but the data set has {len(index.names)} classes: "
            "evaluate with the model that was trained for them"
        )
    if len(table) and not 0 <= table.image.min() <= table.image.max() < len(index):
        raise ValueError(f"positions 0..{len(index) - 1} expected, {table.image.min()}..{table.image.max()} came")
    chosen = np.arange(len(index)) if images is None else np.unique(images)
    chosen = chosen[np.argsort(index.image_ids[chosen])]
    place = np.full(len(index), -1)
    place[chosen] = np.arange(len(chosen))
    moved = DetectionTable(place[table.image], table.boxes, table.scores, table.labels)
    return index.select(chosen), moved if images is None else moved.select(moved.image >= 0)


def coco_results(index: DatasetIndex, table: DetectionTable) -> list[dict[str, Any]]:
    """Return the detections in COCO's result format, with the file's own ids; `bbox` is xywh in pixels."""
    columns = (
        index.image_ids[table.image].tolist(),
        index.category_ids[table.labels].tolist(),
        xywh(table.boxes).tolist(),
        table.scores.tolist(),
    )
    return [
        {"image_id": image, "category_id": category, "bbox": box, "score": score}
        for image, category, box, score in zip(*columns)
    ]


def write_results(path: Path, index: DatasetIndex, table: DetectionTable) -> None:
    """Write COCO's result file: whole or, if the writing is cut short, not at all. Missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(coco_results(index, table)))


def xywh(boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return xyxy boxes (n, 4) as xywh, in float64 so that nothing is rounded."""
    corners = boxes.astype(np.float64)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
