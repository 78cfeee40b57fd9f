"""The description of a YOLO data set, whichever file holds it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from paa.data.files.text import read_text
from paa.errors import DataError


@dataclass(frozen=True)
class Description:
    """A description of a YOLO data set: its class names, and where the images of its splits are.

    source: the file or folder that holds the description, for messages. root: the folder that `entries` are relative
    to. bases: folders to search for an entry that is not in the root. names: class names, by label. entries: the
    folders, lists and images of each split, as they are written. path: the root as it is written. keypoints: how many
    numbers follow the box in a row, 0 for none.
    """

    source: Path
    root: Path
    bases: tuple[Path, ...]
    names: tuple[str, ...]
    entries: dict[str, list[str]]
    path: str = ""
    keypoints: int = 0


def read_names(file: Path) -> list[str]:
    """Return the class names in a text file, one on each line. Raises DataError."""
    names = [line.strip() for line in read_text(file).strip().splitlines()]
    if "" in names or not names:
        raise DataError(f"{file}: line {names.index('') + 1 if names else 1} is empty; each line must be a class name")
    return names
