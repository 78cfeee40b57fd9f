"""The content of any COCO file, record by record: values in other forms are read, wrong values are named.

Much slower than `columns.py`, and only needed for files that `columns.py` does not read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from paa.data.formats.coco.columns import Column, Content, name_of_url
from paa.data.formats.coco.masks import mask_box
from paa.data.formats.coco.values import WrongValueError, area, crowd, real_number, shown, side, whole_number
from paa.data.read_report import ReadReport
from paa.errors import DataError, one_line


class _Image(NamedTuple):
    name: str
    id: int
    size: tuple[int, int]


class _Annotation(NamedTuple):
    id: Any
    image: int
    category: int
    xywh: list[float]
    crowd: int
    area: float


@dataclass
class _Substitutes:
    """The annotations that got a box from their mask, and those that got an area from their box."""

    boxes: list[str] = field(default_factory=list)
    areas: list[str] = field(default_factory=list)

    def warn(self, file: Path, report: ReadReport) -> None:
        """Warn of both kinds, naming the first annotation of each."""
        if self.boxes:
            count, first = len(self.boxes), self.boxes[0]
            report.warn(
                f"{file}: {count} annotations have no bbox but a mask, whose box is taken; first {first}",
                lambda: (f"{file}: {name} has no bbox but a mask, whose box is taken" for name in self.boxes),
            )
        if self.areas:
            count, first = len(self.areas), self.areas[0]
            report.warn(
                f"{file}: {count} annotations have an unusable area, the box's is taken; first {first}",
                lambda: (f"{file}: {name} has an unusable area; the box's is taken" for name in self.areas),
            )


def read_fields(file: Path, report: ReadReport) -> Content:
    """Return the content of an annotation file; records with a wrong value are left out. Raises DataError."""
    data = _load(file)
    images: list[_Image] = []
    left_out: set[str] = set()  # ids, as in the file, of images whose annotations are left out with them
    for place, entry in enumerate(data["images"]):
        try:
            images.append(_image(entry))
        except WrongValueError as wrong:
            report.leave_out(f"{file}: {_image_name(entry, place)} {wrong}")
            left_out |= {repr(entry["id"])} if isinstance(entry, dict) and "id" in entry else set()
    entries = data.get("annotations") or []
    if left_out:
        entries = [e for e in entries if not (isinstance(e, dict) and repr(e.get("image_id")) in left_out)]
    annotations = _annotations(file, entries, {image.id: image.size for image in images}, report)
    return Content(
        file=file,
        file_names=[image.name for image in images],
        image_ids=np.array([image.id for image in images], np.int64),
        sizes=np.array([image.size for image in images], np.float64).reshape(-1, 2),
        categories=data.get("categories"),
        annotations=_columns(annotations),
    )


def annotation_name(entry: object) -> str:
    """Return an annotation's name in a message."""
    if not isinstance(entry, dict):
        return f"annotation {shown(entry)}"
    return f"annotation {entry.get('id')} (image {entry.get('image_id')})"


def _load(file: Path) -> dict[str, Any]:
    """Return a file's content, with a list of images and perhaps a list of annotations. Raises DataError."""
    try:
        content = file.read_bytes()
        data = json.loads(content.decode(json.detect_encoding(content)))
    except json.JSONDecodeError as error:
        raise DataError(f"{file}: broken JSON at line {error.lineno}, column {error.colno}: {error.msg}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read as text: {one_line(error)}") from error
    except (RecursionError, ValueError) as error:  # nested too deep, a number of thousands of digits
        raise DataError(f"{file}: not COCO annotations: {one_line(error)}") from error
    if not isinstance(data, dict) or not isinstance(data.get("images"), list):
        raise DataError(f"{file}: not COCO annotations: expected an object with a list 'images'")
    if not isinstance(data.get("annotations") or [], list):
        raise DataError(f"{file}: 'annotations' is not a list")
    return data


def _image_name(entry: object, place: int) -> str:
    name = entry.get("file_name") if isinstance(entry, dict) else None
    return f"images[{place}]" + (f" ({name})" if isinstance(name, str) and name else "")


def _image(entry: object) -> _Image:
    if not isinstance(entry, dict):
        raise WrongValueError(f"is {shown(entry)}, not an object with id and file_name")
    number = whole_number(entry, "id")
    name, url = entry.get("file_name"), entry.get("coco_url")
    if name is None and isinstance(url, str):
        name = name_of_url(url)
    if not isinstance(name, str) or not name:
        raise WrongValueError(f"has file_name {shown(name)}" if "file_name" in entry else "has no file_name")
    return _Image(name, number, (side(entry, "height"), side(entry, "width")))


def _annotations(
    file: Path, entries: Sequence[Any], sizes: dict[int, tuple[int, int]], report: ReadReport
) -> list[_Annotation]:
    """Return the annotations whose values can be used. sizes: (height, width) by image id."""
    substitutes = _Substitutes()
    annotations = []
    for entry in entries:
        try:
            annotations.append(_annotation(entry, sizes, substitutes))
        except WrongValueError as wrong:
            report.leave_out(f"{file}: {annotation_name(entry)} {wrong}")
    substitutes.warn(file, report)
    return annotations


def _columns(annotations: Sequence[_Annotation]) -> dict[str, Column]:
    own_ids = np.empty(len(annotations), object)  # only messages name them, so they may be anything
    own_ids[:] = [annotation.id for annotation in annotations]
    return {
        "id": own_ids,
        "image_id": np.array([annotation.image for annotation in annotations], np.int64),
        "category_id": np.array([annotation.category for annotation in annotations], np.int64),
        "bbox": np.array([annotation.xywh for annotation in annotations], np.float64).reshape(-1, 4),
        "iscrowd": np.array([annotation.crowd for annotation in annotations], np.float64),
        "area": np.array([annotation.area for annotation in annotations], np.float64),
    }


def _annotation(entry: object, sizes: dict[int, tuple[int, int]], substitutes: _Substitutes) -> _Annotation:
    if not isinstance(entry, dict):
        raise WrongValueError("is not an object")
    image, category = whole_number(entry, "image_id"), whole_number(entry, "category_id")
    is_crowd = crowd(entry.get("iscrowd"))
    box = entry.get("bbox")
    has_box = box is not None and box != []
    xywh = _given_box(box) if has_box else _box_of_mask(entry, sizes.get(image, (0, 0)))
    given_area, wrong = area(entry.get("area"))
    if not has_box:
        substitutes.boxes.append(annotation_name(entry))
    if wrong:
        substitutes.areas.append(annotation_name(entry))
    return _Annotation(entry.get("id"), image, category, xywh, is_crowd, given_area)


def _given_box(box: object) -> list[float]:
    """Return a bbox as numbers: x, y, width, height."""
    if not isinstance(box, list):
        raise WrongValueError(f"has bbox {shown(box)}, which is not a list of 4 numbers")
    if len(box) != 4:
        raise WrongValueError(f"has a bbox of {len(box)} numbers, not 4")
    xywh = []
    for name, value in zip(("x", "y", "width", "height"), box):
        if (number := real_number(value)) is None:
            raise WrongValueError(f"has a bbox whose {name} is {shown(value)}")
        xywh.append(number)
    return xywh


def _box_of_mask(entry: dict[str, Any], size: tuple[int, int]) -> list[float]:
    """Return x, y, width and height of the mask of an annotation without a bbox. size: (height, width) of the image."""
    try:
        xywh = mask_box(entry.get("segmentation"), size)
    except ValueError as error:
        raise WrongValueError(f"has no bbox, and {error}") from error
    if xywh is None:
        raise WrongValueError("has no bbox" + (", and its segmentation is empty" if entry.get("segmentation") else ""))
    return list(xywh)
