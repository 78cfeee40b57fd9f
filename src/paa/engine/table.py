"""The detections of a whole evaluation as flat arrays, and COCO's result file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from paa.data.index import DatasetIndex
from paa.engine.run_folder import write_text
from paa.errors import ConfigError


@dataclass(frozen=True)
class DetectionTable:
    """The detections of a whole evaluation, one column a fact, in any order.

    image (M,): int64, the picture's position in the index. boxes (M, 4): float32, continuous xyxy pixels of the
    original picture. scores (M,): float32. labels (M,): int64 from 0.
    """

    image: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> DetectionTable:
        """Return only these rows (positions or a mask), in this order."""
        return DetectionTable(self.image[rows], self.boxes[rows], self.scores[rows], self.labels[rows])

    @staticmethod
    def concatenate(tables: Sequence[DetectionTable]) -> DetectionTable:
        """Return the rows of all tables, in order; no tables give an empty one."""
        empty = DetectionTable(
            np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
        )
        parts = [empty, *tables]
        return DetectionTable(
            np.concatenate([part.image for part in parts]),
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.labels for part in parts]),
        )


def evaluated(
    index: DatasetIndex, table: DetectionTable, images: npt.NDArray[np.int64] | None
) -> tuple[DatasetIndex, DetectionTable]:
    """Return the data set with only these pictures (positions; default: all), by image id, and its detections.

    Raises ConfigError if a label is not a class of the data set, ValueError if a position is not a picture of it.
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
