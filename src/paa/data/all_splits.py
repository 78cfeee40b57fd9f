"""Reading all splits of a data set, for what is done with a data set as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from paa.data.classes import same_classes
from paa.data.formats.interface import ReadRequest
from paa.data.index import DatasetIndex
from paa.data.read import log_report, read_request
from paa.data.read_report import ReadReport
from paa.errors import DataError, MissingSplitError

USUAL_SPLITS = ("train", "val", "test")
"""The splits that are looked for where no others are named."""


@dataclass(frozen=True)
class Source:
    """Where a data set is, and which splits of it are read.

    splits: their names, all of which must exist; none: those of train, val and test that exist. format: "coco", "voc"
    or "yolo", None to recognise it. images: the folder of the images, None to find it. allow_outside: folders outside
    of the data set that its files and links may lead to.
    """

    path: Path
    splits: tuple[str, ...] = ()
    format: str | None = None
    images: Path | None = None
    allow_outside: tuple[Path, ...] = ()


@dataclass(frozen=True)
class SplitRead:
    """What reading a split gave: an index, or else the error that stopped the reading.

    name: that of the split, or of the split that the name of an annotation file says.
    """

    name: str
    report: ReadReport
    index: DatasetIndex | None = None
    error: DataError | None = None


def read_splits(source: Source, skip_bad: bool = False) -> dict[str, DatasetIndex]:
    """Return the splits of a data set, all with the same classes, and log what was read. Raises DataError."""
    read: dict[str, DatasetIndex] = {}
    for split in split_reads(source, skip_bad):
        if split.index is None:
            raise split.error or DataError(f"{source.path}: no split {split.name!r}")
        log_report(split.report, split.name, split.index)
        read[split.name] = split.index
    return dict(zip(read, same_classes(list(read.values()))))


def split_reads(source: Source, skip_bad: bool = False, detailed: bool = False) -> Iterator[SplitRead]:
    """Read each split, and yield what reading it gave.

    An annotation file is one split, whatever is named. Raises DataError for a path that is no data set, and
    MissingSplitError if none of the usual splits exists.
    """
    is_file = source.path.is_file() and source.path.suffix.lower() == ".json"
    wanted: Sequence[str] = source.splits or USUAL_SPLITS
    missing: list[MissingSplitError] = []
    for name in wanted[:1] if is_file else wanted:
        report = ReadReport(skip_bad, detailed)
        try:
            request = ReadRequest(source.path, name, source.images, allow_outside=source.allow_outside)
            index = read_request(request, source.format, report)
        except MissingSplitError as error:
            if source.splits:
                raise
            missing.append(error)
        except DataError as error:
            if not report.format:  # no format was recognised
                raise
            yield SplitRead(report.split or name, report, error=error)
        else:
            yield SplitRead(report.split or name, report, index)
    if len(missing) == len(wanted):
        raise missing[0]
