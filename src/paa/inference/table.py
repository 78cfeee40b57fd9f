"""The detections in a whole data set as flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from paa.core.postprocess import DetectedBatch


@dataclass(frozen=True)
class DetectionTable:
    """The detections of a whole data set as columns, in any order.

    image (M,): int64, the image's position in the index. boxes (M, 4): float32, continuous xyxy pixels of the
    original image. scores (M,): float32. labels (M,): int64 from 0.
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
    def from_batch(positions: Tensor, found: DetectedBatch) -> DetectionTable:
        """Return the rows of a batch on the CPU. positions (B,): int64, each image's position in the index."""
        valid = found.labels >= 0
        image = positions[:, None].expand_as(found.labels)
        columns = (image[valid], found.boxes[valid], found.scores[valid], found.labels[valid])
        return DetectionTable(*(column.numpy() for column in columns))

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
