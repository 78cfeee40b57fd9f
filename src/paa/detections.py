"""The detections of one image, as `PAA.predict` returns them."""

from __future__ import annotations

import operator
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from paa.errors import ConfigError, ImageError
from paa.runtime.extras import not_installed

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

_INLINE_SIDE = 1024  # pixels of an image in a notebook, which holds every image that it shows

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

    source: the image's file, or a weak reference to an image in memory, which `plot` draws on. The image is never kept
    in memory for the detections' sake, so an image in memory can be drawn on as long as something else holds it.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    names: tuple[str, ...]
    source: Path | weakref.ref[Any] | None = field(default=None, repr=False)

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
        return Detections(self.boxes[rows], self.scores[rows], self.labels[rows], self.names, self.source)

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
        """Return only the detections whose score is at least `threshold`; ConfigError if that is no number."""
        if not isinstance(threshold, Real):
            raise ConfigError(f"threshold must be a number, got {threshold!r}")
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

    def to_coco(self, image_id: int | str, category_ids: Sequence[int | str] | None = None) -> list[dict[str, Any]]:
        """Return the detections in COCO's result format: dictionaries of image_id, category_id, bbox (xywh), score.

        category_ids: each label's id in the data set; by default label + 1. COCO's own ids have gaps, and those of YOLO
        begin at 0: they must be given. `paa eval` takes class names too, whatever the data set:
        `category_ids=detections.names`. ConfigError if labels lack an id.
        """
        ids = range(1, len(self.names) + 1) if category_ids is None else category_ids
        if len(ids) != len(self.names):
            raise ConfigError(f"{len(ids)} category ids for the {len(self.names)} classes of the model")
        return [
            {"image_id": image_id, "category_id": ids[label], "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}
            for (x1, y1, x2, y2), label, score in zip(self.boxes.tolist(), self.labels.tolist(), self.scores.tolist())
        ]

    def to_supervision(self) -> Any:
        """Return the detections as `supervision.Detections`, for its zones and annotators, and for trackers.

        Class names are in `data["class_name"]`. ConfigError if supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise ConfigError(not_installed("supervision", "supervision")) from error
        names = np.array(self.names, dtype=np.str_)[self.labels]
        return supervision.Detections(
            xyxy=self.boxes.copy(),
            confidence=self.scores.copy(),
            class_id=self.labels.astype(int),
            data={"class_name": names},
        )

    def captions(self) -> list[str]:
        """Return the text at each box in a drawing: class name and score."""
        return [f"{name} {score:.2f}" for _, score, name in self]

    def plot(self, image: str | Path | Image.Image | npt.NDArray[Any] | Tensor | None = None) -> Image.Image:
        """Return the image with all these detections drawn on it, each with its name and score, the best on top.

        image: in any form that `PAA.predict` takes; by default the one that was detected in. It is not changed.
        ImageError if it cannot be read, or is no longer in memory.
        """
        from PIL import Image

        from paa.data.images.read import as_rgb
        from paa.drawing.boxes import draw_objects

        if image is None:
            image = self.source() if isinstance(self.source, weakref.ref) else self.source
        if image is None:
            raise ImageError("the image of these detections is not in memory: give it, as in detections.plot(image)")
        return draw_objects(Image.fromarray(as_rgb(image)), self.boxes, self.labels, self.captions())

    def _repr_jpeg_(self) -> bytes | None:
        """Return the drawing for a notebook, at most 1024 pixels a side; None, for the text, without the image."""
        try:
            drawing = self.plot()
        except ImageError:
            return None
        drawing.thumbnail((_INLINE_SIDE, _INLINE_SIDE))
        buffer = BytesIO()
        drawing.save(buffer, "JPEG", quality=90)
        return buffer.getvalue()

    def __getstate__(self) -> dict[str, Any]:
        """Return the values to pickle or copy: a weak reference cannot be."""
        return vars(self) | {"source": self.source if isinstance(self.source, Path) else None}


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
