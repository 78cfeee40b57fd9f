"""The options with which every command of `paa data` reads a data set."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from paa.commands.options import Format, limit_pixels

if TYPE_CHECKING:
    from paa.data.all_splits import Source
    from paa.data.index import DatasetIndex


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Where a data set is, and what of it is read."""

    path: Positional[Path]
    """The data set: a COCO JSON file, or the folder of a COCO, Pascal VOC or YOLO data set."""
    splits: tuple[str, ...] | None = None
    """Splits to read; default: those of train, val and test that the data set has."""
    format: Format | None = None
    """Format of the data set; default: recognised from what the path holds."""
    images: Path | None = None
    """Folder of the images; default: found from the annotations."""
    allow_outside: tuple[Path, ...] = ()
    """Folders outside of the data set that its files and links may lead to; / allows any."""
    max_pixels: int | None = None
    """Most pixels of an image; default: 178956970, or PAA_MAX_PIXELS of the environment."""

    def source(self) -> Source:
        """Return what is to be read, and set how many pixels an image may have."""
        from paa.data.all_splits import Source

        limit_pixels(self.max_pixels)
        return Source(self.path, self.splits or (), self.format, self.images, self.allow_outside)


def allow_outside_hint(indexes: Iterable[DatasetIndex]) -> str:
    """Return a line for a new data set whose images stay where they are: how commands are told to read them there."""
    folders = {index.path(i).parent for index in indexes for i in range(len(index))}
    folder = os.path.commonpath([os.path.realpath(each) for each in folders])
    return f"its images stay in {folder}: to read it, add --allow-outside {shlex.quote(folder)}"


@dataclass(frozen=True, kw_only=True)
class ReadOptions(SourceOptions):
    """The same, for commands that stop at what cannot be used, unless they are to leave it out."""

    skip_bad: bool = False
    """Leave out annotations and images that cannot be used, instead of stopping."""

    def read(self) -> dict[str, DatasetIndex]:
        """Return the splits by name, and log what was read. Raises DataError."""
        from paa.data.all_splits import read_splits

        return read_splits(self.source(), self.skip_bad)
