"""Detections in COCO's result format, and its file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from paa.data.index import DatasetIndex
from paa.inference.table import DetectionTable
from paa.runtime.files import write_text


def coco_results(index: DatasetIndex, table: DetectionTable) -> list[dict[str, Any]]:
    """Return the detections in COCO's result format: the data set's own ids, `bbox` as xywh in pixels.

    Where the images' ids are but their places, `image_id` is the name of the file, which stays when images come or go.
    """
    ids: list[int | str] = index.image_ids.tolist()
    if index.ids_are_places:
        ids = [_name(name, place) for name, place in zip(index.file_names.tolist(), ids)]
    columns = (
        [ids[image] for image in table.image.tolist()],
        index.category_ids[table.labels].tolist(),
        xywh(table.boxes).tolist(),
        table.scores.tolist(),
    )
    return [
        {"image_id": image, "category_id": category, "bbox": box, "score": score}
        for image, category, box, score in zip(*columns)
    ]


def _name(file_name: bytes, place: int | str) -> int | str:
    """Return the name of an image's file, or its place where the name is no text that JSON can hold."""
    try:
        return file_name.decode("utf-8")
    except UnicodeDecodeError:
        return place


def write_results(path: Path, index: DatasetIndex, table: DetectionTable) -> None:
    """Write COCO's result file: whole or, if the writing is cut short, not at all. Missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(coco_results(index, table)))


def xywh(boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return xyxy boxes (n, 4) as xywh, in float64 so that nothing is rounded."""
    corners = boxes.astype(np.float64)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
