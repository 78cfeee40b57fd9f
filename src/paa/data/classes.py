"""The classes of a data set, in its own order or in that of a model's class names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from paa.data.index import DatasetIndex
from paa.data.read_report import ReadReport, first_few
from paa.errors import DataError


@dataclass(frozen=True)
class Classes:
    """C classes, and how the labels of the files map to them.

    names: C class names. category_ids (C,): the files' own ids. mapping: for each label of the files, the position of
    its class in `names`, -1 for a class that is left out.
    """

    names: tuple[str, ...]
    category_ids: npt.NDArray[np.int64]
    mapping: npt.NDArray[np.int64]


def match_classes(
    source: Path, own: Sequence[str], own_ids: Sequence[int], wanted: Sequence[str] | None, report: ReadReport
) -> Classes:
    """Return the classes of the files, in the order of the wanted names if these are given.

    source: the file or folder that messages name. own, own_ids: names and ids of the files' classes, by label. A wanted
    class that the files lack gets an id that no other class has; a class of the files that is not wanted is left
    out. Raises DataError for a name that two classes have, and where all classes are left out.
    """
    if len(set(own)) < len(own):
        twice = next(name for name in own if list(own).count(name) > 1)
        raise DataError(f"{source}: two classes are named {twice!r}")
    _warn_of_similar_names(source, own, report)
    if wanted is None:
        return Classes(tuple(own), np.asarray(own_ids, np.int64), np.arange(len(own)))
    label_of = {name: label for label, name in enumerate(wanted)}
    known, similar = first_few(wanted), {_folded(name): name for name in wanted}
    for name in own:
        if name not in label_of:
            other = similar.get(_folded(name))
            hint = f" ({other!r} differs in capitals or blanks only)" if other is not None else ""
            report.leave_out(f"{source}: class {name!r} is unknown to the model, which knows {known}{hint}", DataError)
    mapping = np.array([label_of.get(name, -1) for name in own], np.int64)
    if len(own) and (mapping < 0).all():
        raise DataError(f"{source}: all classes, {first_few(own)}, are unknown to the model, which knows {known}")
    category_ids = _unused_ids(own_ids, len(wanted))
    category_ids[mapping[mapping >= 0]] = np.asarray(own_ids, np.int64)[mapping >= 0]
    return Classes(tuple(wanted), category_ids, mapping)


def same_classes(indexes: Sequence[DatasetIndex]) -> list[DatasetIndex]:
    """Return the indexes with the classes of all of them: the first one's, then those that only others have.

    A class keeps the id that it has where it comes first, unless an earlier class has this id already.
    """
    ids: dict[str, int] = {}
    for index in indexes:
        for name, own in zip(index.names, index.category_ids.tolist()):
            if name not in ids:
                taken = list(ids.values())
                ids[name] = int(_unused_ids(taken, 1)[0]) if own in taken else own
    names, category_ids = tuple(ids), np.array(list(ids.values()), np.int64)
    place = {name: label for label, name in enumerate(names)}
    return [
        replace(
            index,
            labels=np.array([place[name] for name in index.names], np.int64)[index.labels],
            names=names,
            category_ids=category_ids,
        )
        for index in indexes
    ]


def _unused_ids(own_ids: Sequence[int], count: int) -> npt.NDArray[np.int64]:
    """Return ids (count,) that no class has: above all others, or the lowest free ones where int64 ends."""
    first = max(own_ids, default=0) + 1
    above = range(first, first + count)
    if above and above[-1] <= np.iinfo(np.int64).max:
        return np.array(above, np.int64)
    taken = set(own_ids)
    return np.array([i for i in range(len(taken) + count) if i not in taken][:count], np.int64)


def _warn_of_similar_names(source: Path, own: Sequence[str], report: ReadReport) -> None:
    by_folded: dict[str, str] = {}
    for name in own:
        other = by_folded.setdefault(_folded(name), name)
        if other != name:
            how = "capitals" if other.casefold() == name.casefold() else "blanks"
            report.warn(f"{source}: the classes {other!r} and {name!r} differ in {how} only; are they the same?")


def _folded(name: str) -> str:
    """Return a name without what people write in several ways: capitals and blanks."""
    return " ".join(name.casefold().split())
