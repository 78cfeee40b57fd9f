"""The detections in a whole data set as flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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

    def relabelled(self, label_of: npt.NDArray[np.int64]) -> DetectionTable:
        """Return the same detections with the label label_of[label], for a data set with other labels."""
        return replace(self, labels=label_of[self.labels])

    def moved(self, ids: npt.NDArray[np.int64], to: npt.NDArray[np.int64]) -> DetectionTable:
        """Return the detections in images that another index has too, with their positions in that index.

        ids (I,), to (J,): the image ids of this table's index, and of the other one.
        """
        order = np.argsort(to)
        place = np.full(len(ids), -1)
        _, mine, theirs = np.intersect1d(ids, to[order], assume_unique=True, return_indices=True)
        place[mine] = order[theirs]
        kept = self.select(place[self.image] >= 0)
        return replace(kept, image=place[kept.image])

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
