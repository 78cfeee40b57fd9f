"""Read a data set of any format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from paa.data import coco, voc, yolo
from paa.data.index import DatasetIndex
from paa.errors import DataError

_FORMATS = {"voc": (voc.holds, voc.read), "yolo": (yolo.holds, yolo.read), "coco": (coco.holds, coco.read)}


def read_dataset(
    path: Path,
    split: str = "train",
    format: str | None = None,
    *,
    names: Sequence[str] | None = None,
    keep_empty: bool = True,
    skip_invalid: bool = False,
) -> DatasetIndex:
    """Read a split of the COCO, VOC or YOLO data set at `path`.

    format: "coco", "voc" or "yolo"; None finds it out from what is there. names: class names in the order of the
    labels wanted (a model's), the data set's own by default. keep_empty: keep pictures without objects. skip_invalid:
    leave out annotations that cannot be used, with a warning. Raises DataError, and AnnotationError for an annotation.
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
    return read(path, split, names=names, keep_empty=keep_empty, skip_invalid=skip_invalid)
