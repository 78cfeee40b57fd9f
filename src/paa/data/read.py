"""Read a data set of any format."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from paa.data.files.folders import subfolders
from paa.data.formats.coco import read as coco
from paa.data.formats.coco.files import other_json
from paa.data.formats.voc import read as voc
from paa.data.formats.yolo import read as yolo
from paa.data.index import DatasetIndex
from paa.data.read_report import ReadReport, printable
from paa.errors import DataError
from paa.runtime.urls import nothing_at

log = logging.getLogger("paa")

_FORMATS = {"coco": (coco.level, coco.read), "voc": (voc.level, voc.read), "yolo": (yolo.level, yolo.read)}
_EXPECTED = "expected COCO (train.json, annotations/instances_train*.json), VOC (Annotations/*.xml) or YOLO (data.yaml)"


def read_dataset(
    path: Path,
    split: str = "train",
    format: str | None = None,
    *,
    images: Path | None = None,
    names: Sequence[str] | None = None,
    keep_empty: bool = True,
    skip_bad: bool = False,
    report: ReadReport | None = None,
) -> DatasetIndex:
    """Read a split of the COCO, VOC or YOLO data set at `path`.

    format: "coco", "voc" or "yolo"; None finds it out from what is there. images: the folder of the images; None looks
    for it. names: class names in the order of the labels wanted (a model's), the data set's own by default.
    keep_empty: keep images without objects. skip_bad: leave out annotations and images that cannot be used, instead of
    stopping. report: is filled in with what was found. What was read, left out and looks wrong is logged.
    Raises DataError; AnnotationError for an annotation, ImageError for an image.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(nothing_at(path, "file or folder"))
    if images is not None and not Path(images).is_dir():
        raise DataError(f"{images}: no such folder of images (--images)")
    report = ReadReport() if report is None else report
    report.skip_bad = report.skip_bad or skip_bad
    if format is None:
        format = _find_format(path, report)
    if format not in _FORMATS:
        raise DataError(f"unknown format {format!r}: expected {', '.join(sorted(_FORMATS))}")
    _, read = _FORMATS[format]
    try:
        index = read(
            path, split, report, images=None if images is None else Path(images), names=names, keep_empty=keep_empty
        )
    except DataError as error:
        message = printable(str(error))
        if report.left_out:
            count, first = len(report.left_out), report.left_out[0]
            message += f"; {count} left out by --skip-bad, the first: {first}"
        if message == str(error):
            raise
        raise type(error)(message) from error
    for line in report.lines(split, index):
        log.info(line)
    for warning in report.warnings:
        log.warning(warning)
    return index


def _find_format(path: Path, report: ReadReport) -> str:
    """Return the format of a path's own annotations, else of a folder's inside it. Raises DataError for two or none."""
    levels = {name: at for name, (level, _) in _FORMATS.items() if (at := level(path)) is not None}
    if not levels:
        others = ", ".join(map(str, other_json(path)[:3])) if path.is_dir() else ""
        raise DataError(f"{path}: no data set: {_EXPECTED}" + (f"; {others} is not COCO" if others else ""))
    best = min(levels.values())
    names = [name for name, at in levels.items() if at == best]
    if len(names) > 1:
        where = {name: _where(path, name, best) for name in names}
        found = " and ".join(f"{name.upper()} in {place}" for name, place in where.items())
        raise DataError(f"{path}: data sets of {len(names)} formats, {found}; name the one wanted: --format {names[0]}")
    for name, at in levels.items():
        if at > best:
            report.warn(f"another data set, {name.upper()}, lies in {_where(path, name, at)} and is not read")
    return names[0]


def _where(path: Path, name: str, at: int) -> Path:
    """Return the folder that holds a format's annotations, as near as its level says."""
    level, _ = _FORMATS[name]
    inside = (child for child in subfolders(path) if at > 0 and level(child) == 0)
    return next(inside, path)
