"""Read a data set of any format."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from paa.data import coco, voc, yolo
from paa.data.index import DatasetIndex
from paa.data.report import ReadReport
from paa.errors import DataError

log = logging.getLogger("paa")

_FORMATS = {"voc": (voc.holds, voc.read), "yolo": (yolo.holds, yolo.read), "coco": (coco.holds, coco.read)}


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
        raise DataError(f"{path}: no such file or folder")
    if format is None:
        format = next((name for name, (holds, _) in _FORMATS.items() if holds(path)), None)
        if format is None:
            raise DataError(
                f"{path}: no data set: expected COCO (train.json, annotations/instances_train*.json), "
                "VOC (Annotations/*.xml) or YOLO (data.yaml)"
            )
    if format not in _FORMATS:
        raise DataError(f"unknown format {format!r}: expected {', '.join(sorted(_FORMATS))}")
    _, read = _FORMATS[format]
    report = ReadReport() if report is None else report
    report.skip_bad = report.skip_bad or skip_bad
    index = read(path, split, report, images=images, names=names, keep_empty=keep_empty)
    for line in report.lines(split, index):
        log.info(line)
    for warning in report.warnings:
        log.warning(warning)
    return index
