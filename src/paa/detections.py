"""The detections of one image, as `PAA.predict` returns them."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Index = int | slice | Sequence[int] | Sequence[bool] | npt.NDArray[Any]
"""Selects detections as in a list or an array: a position, a slice, a mask or several positions."""


@dataclass(frozen=True, eq=False)
class Detections:
    """The detections of one image, best first.

    boxes (n, 4): float32, continuous xyxy pixels of the original image.
    scores (n,): float32 in 0..1. labels (n,): int64, from 0. names: the model's class names, `names[label]`.

    `len`, iteration (box, score, class name), indexing and slices work as with a list, masks and arrays of positions as
    with an array: `detections[0]`, `detections[:10]`, `detections[detections.labels == 2]`; each gives `Detections`.
    Two `Detections` are equal if all their values are, to the bit. Like arrays, `Detections` cannot be hashed.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    names: tuple[str, ...]

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[tuple[npt.NDArray[np.float32], float, str]]:
        """Yield (box (4,), score, class name), best first."""
        for box, score, label in zip(self.boxes, self.scores, self.labels):
            yield box, float(score), self.names[label]

    def __getitem__(self, index: Index) -> Detections:
        """Return the detections at a position (one detection), a slice, a mask (n,) of bool, or an array of positions.

        Raises IndexError for a position out of range, a mask of another length, and an index of any other kind.
        """
        rows = _rows(index, len(self))
        return Detections(self.boxes[rows], self.scores[rows], self.labels[rows], self.names)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Detections):
            return NotImplemented
        return self.names == other.names and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in ("boxes", "scores", "labels")
        )

    def __repr__(self) -> str:
        counts = Counter(self.names[label] for label in self.labels.tolist())
        found = ", ".join(f"{count} {name}" for name, count in counts.most_common(8))
        more = f", and {len(counts) - 8} classes more" if len(counts) > 8 else ""
        scores = f"; scores {self.scores.max():.2f} to {self.scores.min():.2f}" if len(self) else ""
        return f"Detections({len(self)}{': ' if found else ''}{found}{more}{scores})"

    def above(self, threshold: float) -> Detections:
        """Return only the detections whose score is at least `threshold`."""
        return self[self.scores >= threshold]

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return a dictionary of plain Python values for each box: `box` (xyxy pixels), `score`, `label`, `name`."""
        return [
            {
                "box": [round(float(v), 3) for v in box],
                "score": float(score),
                "label": int(label),
                "name": self.names[label],
            }
            for box, score, label in zip(self.boxes, self.scores, self.labels)
        ]


def _rows(index: Index, count: int) -> slice | npt.NDArray[Any]:
    """Return the same index, checked against `count` rows, in a form that selects an array of rows, never one row."""
    if isinstance(index, slice):
        return index
    rows = np.asarray(index)
    if rows.ndim == 0 and rows.dtype.kind in "iu":
        number = operator.index(rows.item())
        if not -count <= number < count:
            raise IndexError(f"detection {number} of {count}")
        return np.array([number])
    if rows.size == 0 and not isinstance(index, np.ndarray):
        rows = rows.astype(np.int64)  # an empty list, which numpy takes for floats
    if rows.ndim != 1 or rows.dtype.kind not in "iub":
        raise IndexError(f"expected a position, a slice, a mask or positions, got {type(index).__name__} {rows.shape}")
    if rows.dtype.kind == "b" and len(rows) != count:
        raise IndexError(f"a mask of {len(rows)} for {count} detections")
    return rows
