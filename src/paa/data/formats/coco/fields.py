"""The content of any COCO file, field by field: what a tool wrote in another form is read, what is wrong is named."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from paa.data.formats.coco.columns import LARGEST_SIZE, Column, Content, name_of_url
from paa.data.formats.coco.masks import mask_box
from paa.data.read_report import ReadReport
from paa.errors import DataError, one_line

_WHOLE = re.compile(r"\s*([+-]?[0-9]{1,30})(?:\.0*)?\s*", re.ASCII)
_SIDES = ("x", "y", "width", "height")


class _WrongError(Exception):
    """A field that cannot be used, in words that follow the name of its record."""


@dataclass
class _Tally:
    """How many annotations got a box from their mask, or an area from their box."""

    masks: list[str] = field(default_factory=list)
    areas: list[str] = field(default_factory=list)


def read_fields(file: Path, report: ReadReport) -> Content:
    """Return the content of an annotation file; records with a wrong field are left out. Raises DataError."""
    data = _load(file)
    names: list[str] = []
    ids: list[int] = []
    sizes: list[tuple[int, int]] = []
    left_out: set[str] = set()  # ids as in the file, of images whose annotations go with them
    for place, entry in enumerate(data["images"]):
        try:
            name, number, size = _image(entry)
        except _WrongError as wrong:
            report.leave_out(f"{file}: {_image_name(entry, place)} {wrong}")
            left_out |= {repr(entry["id"])} if isinstance(entry, dict) and "id" in entry else set()
            continue
        names.append(name)
        ids.append(number)
        sizes.append(size)
    entries = data.get("annotations") or []
    if left_out:
        entries = [e for e in entries if not (isinstance(e, dict) and repr(e.get("image_id")) in left_out)]
    return Content(
        file_names=names,
        image_ids=np.array(ids, np.int64),
        sizes=np.array(sizes, np.float64).reshape(-1, 2),
        categories=data.get("categories"),
        annotations=_annotations(file, entries, dict(zip(ids, sizes)), report),
    )


def _annotations(
    file: Path, entries: list[Any], sizes: dict[int, tuple[int, int]], report: ReadReport
) -> dict[str, Column]:
    """Return the columns of the annotations whose fields can be used. sizes: (height, width) by image id."""
    tally = _Tally()
    rows: list[tuple[Any, int, int, list[float], int, float]] = []
    for entry in entries:
        try:
            rows.append(_annotation(entry, sizes, tally))
        except _WrongError as wrong:
            report.leave_out(f"{file}: {annotation_name(entry)} {wrong}")
    if masks := tally.masks:
        report.warn(f"{file}: {len(masks)} annotations have no bbox but a mask, whose box is taken; first {masks[0]}")
    if areas := tally.areas:
        report.warn(f"{file}: {len(areas)} annotations have an unusable area, the box's is taken; first {areas[0]}")
    own = np.empty(len(rows), object)  # their ids are for messages, and may be anything
    own[:] = [row[0] for row in rows]
    return {
        "id": own,
        "image_id": np.array([row[1] for row in rows], np.int64),
        "category_id": np.array([row[2] for row in rows], np.int64),
        "bbox": np.array([row[3] for row in rows], np.float64).reshape(-1, 4),
        "iscrowd": np.array([row[4] for row in rows], np.float64),
        "area": np.array([row[5] for row in rows], np.float64),
    }


def read_categories(file: Path, categories: Any) -> list[tuple[int, str, str | None]]:
    """Return (id, name, supercategory) of each class, by ascending id; one that stands twice once. Raises DataError."""
    if not isinstance(categories, list):
        raise DataError(f"{file}: 'categories' must be a list of objects with id and name")
    rows: dict[int, tuple[int, str, str | None]] = {}
    for place, entry in enumerate(categories):
        if not isinstance(entry, dict):
            raise DataError(f"{file}: categories[{place}] is {_show(entry)}, not an object with id and name")
        try:
            number = _whole(entry, "id")
        except _WrongError as wrong:
            raise DataError(f"{file}: categories[{place}] ({_show(entry.get('name'))}) {wrong}") from None
        name, above = entry.get("name"), entry.get("supercategory")
        if isinstance(name, bool) or not isinstance(name, (str, int, float)) or name == "":
            raise DataError(f"{file}: category {number} has name {_show(name)}")
        if number in rows and rows[number][1] != str(name):
            raise DataError(f"{file}: two classes have the same id {number}: {rows[number][1]} and {name}")
        rows.setdefault(number, (number, str(name), above if isinstance(above, str) else None))
    if not rows:
        raise DataError(f"{file}: no classes")
    return [rows[number] for number in sorted(rows)]


def annotation_name(entry: object) -> str:
    """Return an annotation's name in a message."""
    if not isinstance(entry, dict):
        return f"annotation {_show(entry)}"
    return f"annotation {entry.get('id')} (image {entry.get('image_id')})"


def _load(file: Path) -> dict[str, Any]:
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


def _image(entry: object) -> tuple[str, int, tuple[int, int]]:
    if not isinstance(entry, dict):
        raise _WrongError(f"is {_show(entry)}, not an object with id and file_name")
    number = _whole(entry, "id")
    name, url = entry.get("file_name"), entry.get("coco_url")
    if name is None and isinstance(url, str):
        name = name_of_url(url)
    if not isinstance(name, str) or not name:
        raise _WrongError(f"has file_name {_show(name)}" if "file_name" in entry else "has no file_name")
    return name, number, (_side(entry, "height"), _side(entry, "width"))


def _side(entry: dict[str, Any], key: str) -> int:
    """Return a side of an image, 0 where it is not given."""
    if entry.get(key) is None:
        return 0
    side = _whole(entry, key)
    if not 0 <= side <= LARGEST_SIZE:
        raise _WrongError(f"has {key} {side}")
    return side


def _whole(entry: dict[str, Any], key: str) -> int:
    """Return a whole number that fits int64, also one that is text or written as 1.0."""
    value = entry.get(key)
    if isinstance(value, str) and (match := _WHOLE.fullmatch(value)):
        value = int(match[1])
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if -(1 << 63) <= value < 1 << 63:
            return value
        raise _WrongError(f"has {key} {_show(value)}, which does not fit int64")
    raise _WrongError(f"has {key} {_show(value)}, which is not a whole number" if key in entry else f"has no {key}")


def _annotation(
    entry: object, sizes: dict[int, tuple[int, int]], tally: _Tally
) -> tuple[Any, int, int, list[float], int, float]:
    if not isinstance(entry, dict):
        raise _WrongError("is not an object")
    image, category = _whole(entry, "image_id"), _whole(entry, "category_id")
    crowd = _crowd(entry.get("iscrowd"))
    xywh, of_mask = _box(entry, sizes.get(image, (0, 0)))
    area, wrong = _area(entry.get("area"))
    if of_mask:
        tally.masks.append(annotation_name(entry))
    if wrong:
        tally.areas.append(annotation_name(entry))
    return entry.get("id"), image, category, xywh, crowd, area


def _crowd(value: object) -> int:
    if value is None:
        return 0
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return int(value)
    if isinstance(value, str) and value.strip() in ("0", "1"):
        return int(value)
    raise _WrongError(f"has iscrowd {_show(value)}, which is neither 0 nor 1")


def _area(value: object) -> tuple[float, bool]:
    """Return an area, NaN where it is not given or wrong, and whether it is wrong."""
    if value is None:
        return math.nan, False
    area = _number(value)
    return (area, False) if area is not None and 0 <= area < math.inf else (math.nan, True)


def _number(value: object) -> float | None:
    """Return a number, also one that is text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _box(entry: dict[str, Any], size: tuple[int, int]) -> tuple[list[float], bool]:
    """Return x, y, width and height, and whether they are those of the mask, as there is no bbox."""
    box = entry.get("bbox")
    if box is None or box == []:
        try:
            of_mask = mask_box(entry.get("segmentation"), size)
        except ValueError as error:
            raise _WrongError(f"has no bbox, and {error}") from error
        if of_mask is None:
            raise _WrongError("has no bbox" + (", and its segmentation is empty" if entry.get("segmentation") else ""))
        return list(of_mask), True
    if not isinstance(box, list):
        raise _WrongError(f"has bbox {_show(box)}, which is not a list of 4 numbers")
    if len(box) != 4:
        raise _WrongError(f"has a bbox of {len(box)} numbers, not 4")
    xywh = [_number(value) for value in box]
    for side, value, own in zip(_SIDES, xywh, box):
        if value is None:
            raise _WrongError(f"has a bbox whose {side} is {_show(own)}")
    return [value for value in xywh if value is not None], False


def _show(value: object) -> str:
    """Return a value as its file has it, cut short."""
    try:
        text = json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
