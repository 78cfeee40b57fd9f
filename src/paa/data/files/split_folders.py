"""Folders that are named as splits, and what to say where a split is missing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from paa.data.files.folders import subfolders
from paa.data.files.splits import split_names, splits_in
from paa.errors import DataError

_SPLIT = re.compile(
    r"(train|training|val|valid|validation|test|testing|trainval|dev|eval)(?:[-_ ]?(?:set|images?|imgs?|zip|\d{4}))?",
    re.IGNORECASE,
)


def split_of(name: str) -> str | None:
    """Return the split that a folder of this name stands for (`Train`, `val2017`, `test_images`), None if none."""
    match = _SPLIT.fullmatch(name)
    return match.group(1).lower() if match else None


def is_split(name: str, split: str) -> bool:
    """Return whether a folder of this name holds the split."""
    return name.lower() == split.lower() or split_of(name) in split_names(split.lower())


def split_folders(parent: Path) -> dict[Path, str]:
    """Return the folders directly inside a folder that are named as splits, and the name of each one's split.

    Where none is, those whose names contain a split count (`cats_train`, `train-640`), if they are of several splits.
    """
    folders = subfolders(parent)
    if named := {folder: folder.name for folder in folders if split_of(folder.name)}:
        return named
    said = {folder: splits_in(folder.name) for folder in folders}
    one_each = {folder: next(iter(splits)) for folder, splits in said.items() if len(splits) == 1}
    return one_each if len(set(one_each.values())) > 1 else {}


def other_split(name: str, split: str) -> bool:
    """Return whether a folder of this name holds another split."""
    return split_of(name) is not None and not is_split(name, split)


def missing_split(source: Path, split: str, found: Sequence[str]) -> DataError:
    """Return the error for a split that is missing: what there is, and the options that settle it."""
    return DataError(f"{source}: no {split!r}: it has {', '.join(found) or 'no splits'}; {split_hint(split)}")


def split_hint(split: str) -> str:
    """Return the options that go on without a split: of `paa train`, and of `paa eval`."""
    if split in split_names("train"):
        return "choose another with --train-split NAME (paa eval: --split)"
    if split not in split_names("val"):
        return "choose another with --train-split or --val-split NAME (paa eval: --split)"
    return (
        "choose another with --val-split NAME (paa eval: --split), other data with --val-data, or none with "
        "--val-batch-size 0"
    )
