"""The folders of a data set that are named as splits, and what to say where a split is missing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from paa.data.files.folders import subfolders
from paa.data.files.splits import split_names, split_of, splits_in
from paa.errors import MissingSplitError

_PART_NUMBER = re.compile(r"(?<!\d)(?!\d{4}(?!\d))\d+")  # any but one of four digits


def split_folders(parent: Path) -> dict[Path, str]:
    """Return the folders directly inside a folder that are named as splits, and the name of each one's split.

    If no folder is, those whose names contain a split (`cats_train`, `train-640`) count, provided that they are of
    several splits. A folder with a number other than a year may be one part of a split, so it is not named as a split.
    """
    folders = subfolders(parent)
    if named := {f: f.name for f in folders if split_of(f.name) and not _PART_NUMBER.search(f.name)}:
        return named
    said = {folder: splits_in(folder.name) for folder in folders}
    one_each = {folder: next(iter(splits)) for folder, splits in said.items() if len(splits) == 1}
    return one_each if len(set(one_each.values())) > 1 else {}


def missing_split(source: Path, split: str, found: Sequence[str]) -> MissingSplitError:
    """Return the error for a split that is missing: which splits exist, and the options that help."""
    has = ", ".join(found) or "no splits"
    return MissingSplitError(f"{source}: no {split!r}: it has {has}; {split_hint(split)}")


def split_hint(split: str) -> str:
    """Return the options of `paa train`, `paa eval` and `paa data` that choose another split, or none."""
    if split in split_names("train"):
        return "choose another with --train-split NAME (paa eval: --split, paa data: --splits)"
    if split not in split_names("val"):
        return "choose another with --train-split or --val-split NAME (paa eval: --split, paa data: --splits)"
    return (
        "choose another with --val-split NAME (paa eval: --split, paa data: --splits), other data with --val-data, a "
        "share of the training images with --val-fraction, or none with --val-batch-size 0"
    )
