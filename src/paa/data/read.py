"""Reading a data set of any format."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from paa.data.files.boundary import OPTION, note_of_refused, within
from paa.data.files.folders import folders_listed_once, subfolders
from paa.data.files.paths import with_name
from paa.data.files.splits import is_annotation_folder, split_of
from paa.data.formats.coco import read as coco
from paa.data.formats.interface import Format, ReadRequest
from paa.data.formats.voc import read as voc
from paa.data.formats.voc.places import ANNOTATION_FOLDERS
from paa.data.formats.yolo import read as yolo
from paa.data.index import DatasetIndex
from paa.data.read_report import ReadReport, printable
from paa.errors import AnnotationError, DataError
from paa.runtime.urls import nothing_at

log = logging.getLogger("paa")

FORMATS = {format.name.lower(): format for format in (coco.FORMAT, voc.FORMAT, yolo.FORMAT)}
"""All data formats by the values of `--format`; add a new format here."""


def read_dataset(
    path: Path,
    split: str = "train",
    format: str | None = None,
    *,
    images: Path | None = None,
    names: Sequence[str] | None = None,
    keep_empty: bool = True,
    skip_bad: bool = False,
    allow_outside: Sequence[Path] = (),
    report: ReadReport | None = None,
) -> DatasetIndex:
    """Read a split of the data set at `path`, and log what was read, what was left out and what looks wrong.

    format: "coco", "voc" or "yolo"; None recognises the format. images: the folder of the images; None finds it.
    names: the class names by label, such as a model's; by default the data set's own. keep_empty: keep images without
    objects. skip_bad: leave out annotations and images that cannot be used, instead of stopping. allow_outside: folders
    outside of the data set that its files and links may lead to. report: a report to fill in; by default a new one.
    Raises DataError; AnnotationError for an annotation, ImageError for an image.
    """
    report = ReadReport() if report is None else report
    report.skip_bad = report.skip_bad or skip_bad
    images = None if images is None else Path(images)
    outside = tuple(map(Path, allow_outside))
    index = read_request(ReadRequest(Path(path), split, images, names, keep_empty, outside), format, report)
    log_report(report, split, index)
    return index


def read_request(request: ReadRequest, format: str | None, report: ReadReport) -> DatasetIndex:
    """Read a split as `read_dataset` does, without logging what the report says."""
    if not request.path.exists():
        raise DataError(nothing_at(request.path, "file or folder"))
    if request.images is not None and not request.images.is_dir():
        raise DataError(f"{request.images}: no such folder of images (--images)")
    for folder in request.allow_outside:
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder ({OPTION})")
    with within(_roots(request)), folders_listed_once():
        chosen = _recognise(request.path, report) if format is None else _named(format)
        report.format = chosen.name
        return _read(chosen, request, report)


def _roots(request: ReadRequest) -> list[Path]:
    """Return the folders that the files of a data set may lead to: its own, and those that a person named.

    A data set's folder is that of its file; above a folder that is named as one of annotations, the one that holds it.
    """
    folder = request.path if request.path.is_dir() else request.path.parent
    named = with_name(folder).absolute()
    above = [folder]
    if _is_of_annotations(named):
        above.append(named.parent)
    elif split_of(named.name) and _is_of_annotations(named.parent):
        above += [named.parent, named.parent.parent]
    return [*above, *([] if request.images is None else [request.images]), *request.allow_outside]


def _is_of_annotations(folder: Path) -> bool:
    return is_annotation_folder(folder.name) or folder.name.lower() in ANNOTATION_FOLDERS


def log_report(report: ReadReport, split: str, index: DatasetIndex) -> None:
    """Log what was read, what was left out and what looks wrong."""
    for line in report.lines(split, index):
        log.info(line)
    for warning in report.warnings:
        log.warning(warning)


def _read(format: Format, request: ReadRequest, report: ReadReport) -> DatasetIndex:
    """Read a data set; an error becomes one printable line, with the first item left out, as its possible cause.

    A detailed report names all items that were left out.
    """
    try:
        return format.read(request, report)
    except DataError as error:
        message = printable(str(error))
        if not isinstance(error, AnnotationError) and OPTION not in message:
            message += printable(note_of_refused())
        if report.left_out and not report.detailed:
            message += f"; {len(report.left_out)} left out by --skip-bad, the first: {report.left_out[0]}"
        if message == str(error):
            raise
        raise type(error)(message) from error


def _named(name: str) -> Format:
    if name not in FORMATS:
        raise DataError(f"unknown format {name!r}: expected {', '.join(sorted(FORMATS))}")
    return FORMATS[name]


def _recognise(path: Path, report: ReadReport) -> Format:
    """Return the format of a path's own annotations, else of those in a folder inside it.

    Raises DataError for two formats at one level, and for none.
    """
    levels = {name: level for name, format in FORMATS.items() if (level := format.level(path)) is not None}
    if not levels:
        raise _no_data_set_error(path)
    best = min(levels.values())
    names = [name for name, level in levels.items() if level == best]
    if len(names) > 1:
        found = " and ".join(f"{FORMATS[name].name} in {_folder_of(path, FORMATS[name], best)}" for name in names)
        raise DataError(f"{path}: data sets of {len(names)} formats, {found}; choose one: --format {names[0]}")
    for name, level in levels.items():
        if level > best:
            other = FORMATS[name]
            report.warn(f"another data set, {other.name}, lies in {_folder_of(path, other, level)} and is not read")
    return FORMATS[names[0]]


def _no_data_set_error(path: Path) -> DataError:
    *examples, last = (f"{format.name} ({format.example})" for format in FORMATS.values())
    message = f"{path}: no data set: expected {', '.join(examples)} or {last}"
    for format in FORMATS.values():
        if files := format.lookalikes(path):
            message += f"; {', '.join(map(str, files[:3]))} is not {format.name}"
    return DataError(printable(message + note_of_refused()))


def _folder_of(path: Path, format: Format, level: int) -> Path:
    """Return the folder with a format's annotations: the path itself, or at level 1 the first folder inside it."""
    inside = (child for child in subfolders(path) if level > 0 and format.level(child) == 0)
    return next(inside, path)
