"""From what a reader found in the files to a checked index."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from paa.data.index import DatasetIndex
from paa.errors import AnnotationError, DataError

log = logging.getLogger("paa")

_SMALLEST_SIDE = 1e-3
_SYNONYMS = (("train", "training"), ("val", "valid", "validation"), ("test", "testing"))


@dataclass(frozen=True)
class Found:
    """A split as its files have it: I pictures and A boxes, unchecked.

    sizes (I, 2): (height, width). images (A,): each box's picture, as a position. boxes (A, 4): float64 continuous
    xyxy. labels (A,). crowd (A,): bool. areas (A,): NaN for the box's own. describe: an annotation's name in a message.
    """

    root: Path
    file_names: Sequence[str]
    image_ids: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int32]
    images: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    crowd: npt.NDArray[np.bool_]
    areas: npt.NDArray[np.float64]
    describe: Callable[[int], str]


@dataclass(frozen=True)
class Classes:
    """A data set's classes: `mapping` turns a label of the files into the position of its name in `names`."""

    names: tuple[str, ...]
    category_ids: npt.NDArray[np.int64]
    mapping: npt.NDArray[np.int64]


class Rejects:
    """What to do with an annotation that cannot be used: stop at it, or leave it out and say at the end how many."""

    def __init__(self, source: Path, skip: bool) -> None:
        self.source = source
        self.skip = skip
        self.count = 0
        self.first = ""
        self.warnings: list[str] = []

    def add(self, problem: str) -> None:
        """Raise AnnotationError, or count."""
        if not self.skip:
            raise AnnotationError(f"{self.source}: {problem}; fix it or pass --skip-invalid")
        self.first = self.first or problem
        self.count += 1

    def report(self) -> None:
        """Warn of how many were left out."""
        if self.count:
            self.warn(f"left out {self.count} invalid annotations; the first: {self.first}")

    def warn(self, message: str) -> None:
        """Log a warning, and keep it in `warnings`."""
        self.warnings.append(f"{self.source}: {message}")
        log.warning(self.warnings[-1])


def split_names(split: str) -> tuple[str, ...]:
    """Return the split's name and the others in use for it, the one asked for first."""
    for names in _SYNONYMS:
        if split in names:
            return (split, *(name for name in names if name != split))
    return (split,)


def read_text(file: Path) -> str:
    """Return the text of a file, with or without a byte order mark. Raises DataError."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read: {error}") from error


def match_classes(source: Path, own: Sequence[str], own_ids: Sequence[int], names: Sequence[str] | None) -> Classes:
    """Return the classes of the files (names and ids by label), in the order of `names` where that is given.

    A class of `names` that the files lack gets an id no class of theirs has. Raises DataError for a class of the files
    that `names` lacks, and for one name given twice.
    """
    if len(set(own)) < len(own):
        twice = next(name for name in own if list(own).count(name) > 1)
        raise DataError(f"{source}: two classes are named {twice!r}")
    if names is None:
        return Classes(tuple(own), np.asarray(own_ids, np.int64), np.arange(len(own)))
    label_of = {name: label for label, name in enumerate(names)}
    unknown = [name for name in own if name not in label_of]
    if unknown:
        raise DataError(f"{source}: class {unknown[0]!r} is unknown to the model, which knows {_some(names)}")
    mapping = np.array([label_of[name] for name in own], np.int64)
    category_ids = max(own_ids, default=0) + 1 + np.arange(len(names), dtype=np.int64)
    category_ids[mapping] = own_ids
    return Classes(tuple(names), category_ids, mapping)


def build_index(found: Found, classes: Classes, rejects: Rejects, keep_empty: bool) -> DatasetIndex:
    """Return the index of a split: boxes checked, clipped to their pictures and sorted by picture.

    keep_empty: keep pictures without a box to train on. A box with NaN or a negative side goes to `rejects`; one
    without area inside its picture is dropped, with a warning that counts them. Raises DataError if no picture is left.
    """
    valid = _check(found, rejects)
    rejects.report()
    height, width = found.sizes[found.images].T
    limits = np.stack([width, height, width, height], axis=1)
    boxes = np.clip(found.boxes, 0, limits).astype(np.float32)
    sides = boxes[:, 2:] - boxes[:, :2]
    kept = valid & (sides >= _SMALLEST_SIDE).all(1)
    if dropped := int(valid.sum() - kept.sum()):
        rejects.warn(f"dropped {dropped} boxes that have no area inside their picture")

    rows = np.flatnonzero(kept)
    rows = rows[np.argsort(found.images[rows], kind="stable")]
    counts = np.bincount(found.images[rows], minlength=len(found.image_ids))
    areas = np.where(np.isfinite(found.areas) & (found.areas >= 0), found.areas, sides.prod(1))
    index = DatasetIndex(
        root=found.root,
        file_names=np.array([name.encode("utf-8", "surrogateescape") for name in found.file_names], np.bytes_),
        image_ids=found.image_ids,
        sizes=found.sizes,
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes=boxes[rows],
        labels=classes.mapping[found.labels[rows]],
        crowd=found.crowd[rows],
        areas=areas[rows].astype(np.float32),
        names=classes.names,
        category_ids=classes.category_ids,
    )
    if not keep_empty:
        targets = np.bincount(found.images[rows][~index.crowd], minlength=len(index))
        index = index.select(np.flatnonzero(targets))
    if len(index) == 0:
        raise DataError(f"{rejects.source}: no pictures" + ("" if keep_empty else " with objects"))
    return index


def _check(found: Found, rejects: Rejects) -> npt.NDArray[np.bool_]:
    """Return which boxes (A,) have finite corners and no negative side."""
    sides = found.boxes[:, 2:] - found.boxes[:, :2]
    valid = np.asarray(np.isfinite(found.boxes).all(axis=1) & (sides >= 0).all(axis=1))
    for row in np.flatnonzero(~valid):
        x1, y1 = found.boxes[row, :2]
        values = {"x": x1, "y": y1, "width": sides[row, 0], "height": sides[row, 1]}
        bad = {k: v for k, v in values.items() if not np.isfinite(v) or (k in ("width", "height") and v < 0)}
        name, value = next(iter(bad.items()))
        rejects.add(f"{found.describe(int(row))} has {name} {value:g}")
    return valid


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
