"""Which differences between two evaluations on the same images are more than chance, by a paired bootstrap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from paa.errors import ConfigError
from paa.evaluation.bootstrap import Interval, draw, interval, resample
from paa.evaluation.metrics import Evaluation

Verdict = Literal["better", "worse", "not clear", "undefined"]


@dataclass(frozen=True)
class Difference:
    """One number of two evaluations, 0..1, and the 95 % interval of their difference; None for what is not defined."""

    name: str
    this: float | None
    other: float | None
    interval: Interval | None

    @property
    def difference(self) -> float | None:
        """Return how much higher the number of the first evaluation is."""
        return None if self.this is None or self.other is None else self.this - self.other

    @property
    def verdict(self) -> Verdict:
        """Return whether the first is better or worse by more than chance: whether the interval leaves out zero."""
        if self.interval is None:
            return "undefined"
        low, high = self.interval
        return "better" if low > 0 else "worse" if high < 0 else "not clear"


@dataclass(frozen=True)
class Comparison:
    """The differences of two evaluations. draws: of the images. measures: COCO's numbers. classes: each class's AP."""

    draws: int
    measures: tuple[Difference, ...]
    classes: tuple[Difference, ...]


def compare(this: Evaluation, other: Evaluation, draws: int) -> Comparison:
    """Return how `this` differs from `other`, both evaluated on the same images.

    Both are computed on the same draws of the images, so that what makes an image hard for both cancels out.
    ConfigError if the images or their limits of detections are not the same.
    """
    mine, theirs = this.index, other.index
    same = mine.image_ids.tolist() == theirs.image_ids.tolist() and mine.names == theirs.names
    if not same or this.run.params.max_dets != other.run.params.max_dets:
        raise ConfigError("two evaluations can be compared only on the same images, classes and numbers of detections")
    drawn = draw(len(mine), draws)
    change = resample(this, drawn) - resample(other, drawn)
    measures = [
        Difference(name, this.metrics[name], other.metrics[name], interval(values))
        for name, values in change.measures.items()
    ]
    classes = [
        Difference(a.name, a.ap, b.ap, interval(values))
        for a, b, values in zip(this.metrics.classes, other.metrics.classes, change.class_ap.T)
    ]
    return Comparison(draws, tuple(measures), tuple(classes))
