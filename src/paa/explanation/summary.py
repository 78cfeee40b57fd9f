"""What an assignment does over all objects of a data set, in numbers that are gathered object by object."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from paa.explanation.objects import Level, ObjectAssignment

SIZES = ("small", "medium", "large")
OVERLAP_EDGES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)
"""Of the bins of the best overlap; the last edge, an anchor that is the object's box, belongs to the last bin."""
SEPARATED = 2.0
"""Separation from which two Gaussians count as two peaks."""


@dataclass(frozen=True)
class Group:
    """Some objects: how many, what they get in the mean, and how many of them get little.

    positives, candidates: per object, and per_level of them the positives. best_overlap: of any anchor, mean.
    separation: of the Gaussians, median. iou_error: mean difference of predicted and true IoU over all positives,
    without its sign. none, one: objects with no positive, and with one. no_candidates: objects without candidates.
    None where it is undefined, as where there are no objects.
    """

    name: str
    objects: int
    positives: float | None
    candidates: float | None
    per_level: tuple[float, ...] | None
    best_overlap: float | None
    separation: float | None
    separated: float | None
    iou_error: float | None
    none: int
    one: int
    no_candidates: int


@dataclass(frozen=True)
class Comparison:
    """What another rule would do: its positives per object, objects without any, and the agreement of the two rules.

    agreement: the anchors that are positive for the same object by both rules, as a share of those that are by either.
    """

    name: str
    positives: float
    none: int
    agreement: float | None


@dataclass(frozen=True)
class Summary:
    """The numbers over all objects. counts: how many objects get 0, 1, 2, ... positives. cuts: the mean number of
    positives if the cut were elsewhere, by its name (`ObjectMixture.cuts`)."""

    levels: tuple[Level, ...]
    whole: Group
    sizes: tuple[Group, ...]
    overlaps: tuple[Group, ...]
    counts: tuple[int, ...]
    separations: tuple[float, ...]
    cuts: dict[str, float]
    what_if: tuple[Comparison, ...]


class Gatherer:
    """Gathers the numbers of objects, some hundred bytes for each."""

    def __init__(self) -> None:
        self._levels: tuple[Level, ...] = ()
        self._rows: list[tuple[float, ...]] = []
        self._per_level: list[list[int]] = []
        self._sizes: list[str] = []
        self._cuts: dict[str, list[int]] = {}
        self._undivided: list[int] = []
        self._what_if: dict[str, list[tuple[int, int]]] = {}

    def add(self, one: ObjectAssignment) -> None:
        """Take an object."""
        positive = slice(one.positives)
        errors = np.abs(one.candidates.predicted_ious - one.candidates.true_ious)[positive]
        separation = np.nan if one.mixture is None else one.mixture.separation
        numbers = (one.positives, len(one.candidates), one.best_overlap, separation, float(errors.sum()))
        self._levels = one.levels
        self._rows.append(numbers)
        self._per_level.append(one.per_level()[0])
        self._sizes.append(one.size_name)
        if one.mixture is None:  # of fewer than two candidates, which no cut divides
            self._undivided.append(one.positives)
        else:
            for name, count in one.mixture.cuts(one.candidates.scores).items():
                self._cuts.setdefault(name, []).append(count)
        for name, other in one.what_if.items():
            self._what_if.setdefault(name, []).append((len(other.levels), other.shared))

    def summary(self) -> Summary:
        """Return the numbers of the objects so far."""
        rows = np.array(self._rows, np.float64).reshape(-1, 5)
        per_level = np.array(self._per_level, np.int64).reshape(len(rows), len(self._levels))
        sizes, best = np.array(self._sizes), rows[:, 2]

        def group(name: str, chosen: npt.NDArray[np.bool_]) -> Group:
            return _group(name, rows[chosen], per_level[chosen])

        bin_of = np.digitize(best, OVERLAP_EDGES[1:-1])
        bins = [(low, high, bin_of == i) for i, (low, high) in enumerate(pairwise(OVERLAP_EDGES))]
        separations = rows[:, 3][~np.isnan(rows[:, 3])]
        return Summary(
            levels=self._levels,
            whole=group("all", np.ones(len(rows), np.bool_)),
            sizes=tuple(group(name, sizes == name) for name in SIZES),
            overlaps=tuple(group(f"{low:.1f} to {high:.1f}", chosen) for low, high, chosen in bins if chosen.any()),
            counts=tuple(np.bincount(rows[:, 0].astype(np.int64)).tolist()),
            separations=tuple(separations.tolist()),
            cuts={name: float(np.mean(counts + self._undivided)) for name, counts in self._cuts.items()},
            what_if=tuple(_comparison(name, rows[:, 0], pairs) for name, pairs in self._what_if.items()),
        )


def summarise(objects: Iterable[ObjectAssignment]) -> Summary:
    """Return the numbers over some objects."""
    gatherer = Gatherer()
    for one in objects:
        gatherer.add(one)
    return gatherer.summary()


def _group(name: str, rows: npt.NDArray[np.float64], per_level: npt.NDArray[np.int64]) -> Group:
    """Return a group; rows (n, 5): positives, candidates, best overlap, separation (NaN for none), sum of errors."""
    positives, candidates, best, separation, errors = rows.T
    known, total = separation[~np.isnan(separation)], positives.sum()
    any_object = len(rows) > 0
    return Group(
        name=name,
        objects=len(rows),
        positives=float(positives.mean()) if any_object else None,
        candidates=float(candidates.mean()) if any_object else None,
        per_level=tuple(per_level.mean(0).tolist()) if any_object else None,
        best_overlap=float(best.mean()) if any_object else None,
        separation=float(np.median(known)) if len(known) else None,
        separated=float((known >= SEPARATED).mean()) if len(known) else None,
        iou_error=float(errors.sum() / total) if total else None,
        none=int((positives == 0).sum()),
        one=int((positives == 1).sum()),
        no_candidates=int((candidates == 0).sum()),
    )


def _comparison(name: str, own: npt.NDArray[np.float64], pairs: Sequence[tuple[int, int]]) -> Comparison:
    """Return what another rule does; pairs: of each object, its positives by that rule and those of both rules."""
    theirs, shared = np.array(pairs).T
    either = own.sum() + theirs.sum() - shared.sum()
    agreement = float(shared.sum() / either) if either else None
    return Comparison(name, float(theirs.mean()), int((theirs == 0).sum()), agreement)
