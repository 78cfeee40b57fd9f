"""Detections of any tool, read from a file in COCO's result format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from paa.data.index import DatasetIndex
from paa.data.read_report import ReadReport, first_few
from paa.errors import AnnotationError, DataError, one_line
from paa.evaluation.result_ids import AMBIGUOUS, Id, find_classes, find_images
from paa.inference.table import DetectionTable
from paa.runtime.urls import nothing_at

_FORMAT = "expected COCO's result format, a list of {image_id, category_id, bbox, score}"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class _Result(msgspec.Struct, gc=False):
    image_id: Id
    category_id: Id
    bbox: tuple[float, float, float, float]
    score: float


_FIELDS: dict[str, tuple[Any, str]] = {
    "image_id": (Id, "an id or a file name"),
    "category_id": (Id, "an id or a class name"),
    "bbox": (tuple[float, float, float, float], "x, y, width, height"),
    "score": (float, "a number"),
}
"""The type of each field, and how a message names it."""


def is_results_file(path: Path) -> bool:
    """Return whether a path is meant as a file of results: it is named *.json, or its content begins as a JSON list."""
    if path.suffix.lower() == ".json":
        return True
    try:
        with path.open("rb") as file:
            return file.read(64).removeprefix(_BYTE_ORDER_MARK).lstrip().startswith(b"[")
    except OSError:
        return False


def read_results(path: Path, index: DatasetIndex, report: ReadReport) -> DetectionTable:
    """Return the detections of a file in COCO's result format: a list of {image_id, category_id, bbox, score}.

    image_id and category_id: as `find_images` and `find_classes` take them. bbox: x, y, width, height in pixels. score:
    any finite number. Values are kept in single precision. A result that cannot be used goes to `report.leave_out`,
    which stops or skips as the user chose. Raises DataError for a file that is no such list, AnnotationError for a
    result.
    """
    results, numbers = _decode(path, report)
    images = find_images(index, [result.image_id for result in results])
    labels = find_classes(index, [result.category_id for result in results])
    xywh = np.array([result.bbox for result in results], np.float64).reshape(-1, 4)
    with np.errstate(over="ignore"):
        scores = np.array([result.score for result in results], np.float64).astype(np.float32)
        boxes = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1).astype(np.float32)
    finite = np.isfinite(boxes).all(1) & np.isfinite(scores)
    usable = (images >= 0) & (labels >= 0) & finite & (xywh[:, 2:] >= 0).all(1)
    for row in np.flatnonzero(~usable).tolist():
        problem = _problem(results[row], int(images[row]), int(labels[row]), index)
        report.leave_out(f"{path}: result {numbers[row]}: {problem}")
    return DetectionTable(images, boxes, scores, labels).select(usable)


def _decode(path: Path, report: ReadReport) -> tuple[list[_Result], Sequence[int]]:
    """Return the results of a file that have the right form, and their numbers in the file, from 1."""
    try:
        text = path.read_bytes().removeprefix(_BYTE_ORDER_MARK)
    except FileNotFoundError:
        raise DataError(nothing_at(path, "file of results")) from None
    try:
        results = msgspec.json.decode(text, type=list[_Result])
        return results, range(1, len(results) + 1)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return _decode_slowly(path, text, report)


def _decode_slowly(path: Path, text: bytes, report: ReadReport) -> tuple[list[_Result], list[int]]:
    """Do the work of `_decode` for a file with a wrong value, or with NaN, which JSON lacks and Python writes.

    DataError for a file that is no list at all.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a JSON file: {one_line(error)}; {_FORMAT}") from error
    if isinstance(content, dict) and "images" in content:
        raise DataError(f"{path}: describes a data set, which is for --data; {_FORMAT}")
    if not isinstance(content, list):
        raise DataError(f"{path}: not a list; {_FORMAT}")
    results, numbers = [], []
    for number, entry in enumerate(content, start=1):
        if problem := _malformed(entry):
            report.leave_out(f"{path}: result {number}: {problem}", AnnotationError)
        else:
            results.append(msgspec.convert({field: entry[field] for field in _FIELDS}, _Result))
            numbers.append(number)
    return results, numbers


def _malformed(entry: Any) -> str:
    """Return which field a result lacks, or which of its values is of a wrong kind; empty if it can be converted."""
    if not isinstance(entry, dict):
        return f"{_shown(entry)} is not an object with image_id, category_id, bbox and score"
    for field, (kind, expected) in _FIELDS.items():
        if field not in entry:
            return f"has no {field}" + (", only a segmentation" if field == "bbox" and "segmentation" in entry else "")
        try:
            msgspec.convert(entry[field], kind)
        except (msgspec.ValidationError, UnicodeError):  # half of a surrogate pair, which is no text
            return f"{field} is {_shown(entry[field])}, expected {expected}"
    return ""


def _problem(result: _Result, image: int, label: int, index: DatasetIndex) -> str:
    """Return why a result cannot be used. image, label: what its ids were found to mean."""
    if image == AMBIGUOUS:
        return f"image_id {_shown(result.image_id)} fits several images; give the name with its folder, or the id"
    if image < 0:
        return f"image_id {_shown(result.image_id)} is no image of this split, whose ids are {_known_images(index)}"
    if label < 0:
        classes = first_few(f"{number} ({name})" for number, name in zip(index.category_ids.tolist(), index.names))
        return f"category_id {_shown(result.category_id)} is no class of the data set, which has {classes}"
    if min(result.bbox[2:]) < 0:
        return f"bbox is {_shown(result.bbox)}, with a negative side; expected x, y, width, height"
    finite = abs(result.score) <= float(np.finfo(np.float32).max)
    field, value = ("bbox", result.bbox) if finite else ("score", result.score)
    return f"{field} is {_shown(value)}, expected finite numbers"


def _known_images(index: DatasetIndex) -> str:
    """Return the first image's id and name, and how many images there are, for a message."""
    if not len(index):
        return "none"
    first = f"{index.image_ids[0]} ({bytes(index.file_names[0]).decode('utf-8', 'replace')})"
    return first if len(index) == 1 else f"{first} and {len(index) - 1} more"


def _shown(value: Any) -> str:
    """Return a value as JSON has it, cut where it is long."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
