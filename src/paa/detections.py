"""What a user gets back from a prediction: the boxes of one picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Detections:
    """The detections of one picture, best first.

    boxes (n, 4): float32, continuous xyxy pixels of the original picture.
    scores (n,): float32 in 0..1. labels (n,): int64, from 0. names: the model's class names, `names[label]`.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[tuple[npt.NDArray[np.float32], float, str]]:
        """Yield (box (4,), score, class name), best first."""
        for box, score, label in zip(self.boxes, self.scores, self.labels):
            yield box, float(score), self.names[label]

    def above(self, threshold: float) -> Detections:
        """Return only the detections whose score is at least `threshold`."""
        keep = self.scores >= threshold
        return Detections(self.boxes[keep], self.scores[keep], self.labels[keep], self.names)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return plain Python values, one dictionary a box: `box` (xyxy pixels), `score`, `label`, `name`."""
        return [
            {
                "box": [round(float(v), 3) for v in box],
                "score": float(score),
                "label": int(label),
                "name": self.names[label],
            }
            for box, score, label in zip(self.boxes, self.scores, self.labels)
        ]
