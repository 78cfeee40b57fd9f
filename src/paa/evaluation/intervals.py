"""The interval in which each of COCO's numbers would lie for other images of the same kind, 95 times in 100."""

from __future__ import annotations

from dataclasses import dataclass

from paa.evaluation.bootstrap import Interval, Resamples, interval


@dataclass(frozen=True)
class Intervals:
    """95 % intervals, 0..1; None where the numbers are not defined often enough.

    draws: of the images. measures: of COCO's numbers, by name. classes: of each class's AP, by label.
    """

    draws: int
    measures: dict[str, Interval | None]
    classes: tuple[Interval | None, ...]


def intervals(resamples: Resamples) -> Intervals:
    """Return the interval of each number, from its values in many draws of the images."""
    return Intervals(
        len(resamples.class_ap),
        {name: interval(values) for name, values in resamples.measures.items()},
        tuple(interval(values) for values in resamples.class_ap.T),
    )
