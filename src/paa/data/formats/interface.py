"""What a data format is: the interface between `paa.data.read` and the folders beside this file.

To add a format:

1. Make a folder here with a `read.py` that has two functions, `level` and `read`, and a `FORMAT` that names them.
2. `level(path)` recognises the format, from few files.
3. `read(request, report)` finds the annotations of a split, fills in a `paa.data.build.RawSplit`, and returns
   `build_index(raw, ...)`. `paa.data.files` has what readers share: splits, folders of images, text, names that
   differ a little. An item that cannot be used goes to `report.leave_out`, one that looks wrong to `report.warn`.
4. Add FORMAT to `FORMATS` in `paa.data.read`, and its name to `DataFormat` in `paa.config`, the option's values.
5. To write the format too, add a `write.py` with a `WRITER`, and the writer to `WRITERS` in `paa.data.convert`.
6. Test it in `tests/data/formats/NAME/`; `tests/data/test_read_formats.py` tests how a format is recognised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from paa.data.index import DatasetIndex
from paa.data.read_report import ReadReport


@dataclass(frozen=True)
class ReadRequest:
    """Which split of a data set to read, and how.

    path: the data set's file or folder. split: the name of the split; formats know other words for train, val and
    test. images: the folder of the images, None to look for it. names: class names in the order of the labels wanted (a
    model's), None for the data set's own. keep_empty: keep images without objects. allow_outside: folders outside of
    the data set that its files and links may lead to.
    """

    path: Path
    split: str = "train"
    images: Path | None = None
    names: Sequence[str] | None = None
    keep_empty: bool = True
    allow_outside: tuple[Path, ...] = ()


def _no_files(path: Path) -> list[Path]:
    return []


class Format(NamedTuple):
    """A data format.

    name: as people write it; in lower case the value of `--format`. example: its usual files, for messages.
    level: how far below a path a data set of this format lies: 0 at the path itself, 1 in a folder inside it, None if
    there is none.
    read: returns the index of the requested split, and fills in the report: where the split was read from, and what was
    found. Raises DataError, AnnotationError for an annotation, ImageError for an image.
    lookalikes: files of a folder that look like this format's but are not, for the message that no data set was found.
    """

    name: str
    example: str
    level: Callable[[Path], int | None]
    read: Callable[[ReadRequest, ReadReport], DatasetIndex]
    lookalikes: Callable[[Path], list[Path]] = _no_files


class Writer(NamedTuple):
    """How a data set is written in a format.

    name: as people write it. image_folder: returns the folder of a split's images, below that of the data set. flat:
    the names of images have no folders, and no two of the images in one folder differ in their suffix or capitals only.
    write: writes the annotations of all splits of a data set into its folder, where the images lie already: the root of
    each index is the folder of its images. cannot_hold: returns what the format has no place for, of what these splits
    have, in a few words each.
    """

    name: str
    image_folder: Callable[[str], str]
    flat: bool
    write: Callable[[Path, Mapping[str, DatasetIndex]], None]
    cannot_hold: Callable[[Mapping[str, DatasetIndex]], list[str]]
