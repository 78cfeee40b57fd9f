"""What an assignment did with one object: its candidates, which of them are positive, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from paa.explanation.mixture import ObjectMixture

Floats = npt.NDArray[np.float32]


class Level(NamedTuple):
    """A level of the pyramid: its name, as P3, its stride, and the side of its anchors, in pixels."""

    name: str
    stride: float
    side: float


@dataclass(frozen=True)
class Candidates:
    """The n candidates of an object, best first.

    anchors (n, 4): xyxy pixels of the resized image. levels (n,): from 0. scores (n,): float64, lower is better.
    overlaps (n,): IoU of the anchor with the object. probabilities (n,): predicted, of the object's class.
    predicted_ious, true_ious (n,): of the predicted box with the object.
    """

    anchors: Floats
    levels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    overlaps: Floats
    probabilities: Floats
    predicted_ious: Floats
    true_ious: Floats

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class Alternative:
    """What another rule would take as positive: the anchors (k, 4) and levels (k,), and how many of them are shared."""

    anchors: Floats
    levels: npt.NDArray[np.int64]
    shared: int


@dataclass(frozen=True)
class ObjectAssignment:
    """One object, as the rule sees it.

    image, row: positions of the image and of the annotation in the data set's index. box (4,): xyxy pixels of the
    resized image, whose (height, width) is `size`. area: in square pixels of the original image. best_overlap: the
    highest IoU of any anchor with the object. positives: so many of the first candidates are positive. mixture: None
    for rules that fit none, and for fewer than two candidates. what_if: what other rules would do, by their names.
    """

    image: int
    row: int
    label: int
    box: Floats
    size: tuple[int, int]
    area: float
    levels: tuple[Level, ...]
    best_overlap: float
    candidates: Candidates
    positives: int
    mixture: ObjectMixture | None
    what_if: Mapping[str, Alternative] = field(default_factory=dict)

    @property
    def size_name(self) -> str:
        """COCO's name for the object's size: small below 32 x 32 pixels, large from 96 x 96 on, else medium."""
        return "small" if self.area < 32**2 else "medium" if self.area < 96**2 else "large"

    @property
    def cut(self) -> float | None:
        """The score in the middle between the last positive and the first negative; None unless there are both."""
        scores = self.candidates.scores
        if not 0 < self.positives < len(scores):
            return None
        return float(scores[self.positives - 1] + scores[self.positives]) / 2

    @property
    def finite(self) -> bool:
        """Whether scores and predictions are numbers; those of a network that has diverged may be NaN."""
        found = self.candidates
        columns = found.scores, found.probabilities, found.predicted_ious, found.true_ious
        return all(bool(np.isfinite(column).all()) for column in columns)

    def per_level(self) -> tuple[list[int], list[int]]:
        """Return the number of positives, and of candidates, of each level."""
        levels, count = self.candidates.levels, len(self.levels)
        positives = np.bincount(levels[: self.positives], minlength=count)
        return positives.tolist(), np.bincount(levels, minlength=count).tolist()
