"""Classes that differ between the splits of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from paa.data.index import DatasetIndex
from paa.data.read_report import first_few
from paa.inspection.problems import CLASSES, Problem


def class_problems(splits: Mapping[str, DatasetIndex]) -> Iterator[Problem]:
    """Yield what differs between the classes of the first split and those of each other one.

    Names decide which class is which: a name that another split lacks, the same names in another order, and the same
    name with another id, each with what other programs, which go by the order or the id, would make of it.
    """
    if not splits:
        return
    (first, index), *others = splits.items()
    seen = {index.names[label] for label in np.unique(index.labels[~index.crowd])}
    for split, other in others:
        new = [name for name in other.names if name not in index.names]
        lost = [name for name in index.names if name not in other.names]
        if new:
            yield _problem(split, f"{split} has classes that {first} has not: {first_few(new)}")
        if lost:
            yield _problem(split, f"{split} lacks classes that {first} has: {first_few(lost)}")
        shared = [name for name in index.names if name in other.names]
        own_order = [name for name in other.names if name in index.names]
        if own_order != shared:
            yield _problem(split, f"{split} has the classes of {first} in another order: {first_few(own_order)}")
        ids, own_ids = (dict(zip(i.names, i.category_ids.tolist())) for i in (index, other))
        if moved := [f"{name} ({ids[name]}, {own_ids[name]})" for name in shared if ids[name] != own_ids[name]]:
            yield _problem(split, f"{split} has other ids than {first} for the same classes: {first_few(moved)}")
        untrained = {other.names[label] for label in np.unique(other.labels[~other.crowd])} & set(shared) - seen
        if untrained:
            yield _problem(
                split, f"{split} has objects of classes of which {first} has none: {first_few(sorted(untrained))}"
            )


def _problem(split: str, message: str) -> Problem:
    return Problem(CLASSES, split, message)
