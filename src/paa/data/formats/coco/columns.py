"""The content of a usual COCO file as columns: fast, and in little memory whatever the file's size.

The text is mapped, not read, and decoded in pieces; what is not needed, such as masks, is skipped in the text. A file
with values of other types, or with wrong ones, is left to `fields.py`, which names what is wrong. Both return the same
content for a file that both read.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

LARGEST_SIZE = (1 << 31) - 1  # pixels of a side
_PIECE = 1 << 25  # bytes of text that are decoded at a time

Column = npt.NDArray[Any]


class _Document(msgspec.Struct):
    images: msgspec.Raw
    categories: Any
    annotations: msgspec.Raw = msgspec.Raw(b"[]")


class _Image(msgspec.Struct, gc=False):
    id: int
    file_name: str | None = None
    coco_url: str | None = None
    height: int | None = None
    width: int | None = None


class _Annotation(msgspec.Struct, gc=False):
    id: int
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    iscrowd: int | None = 0
    area: float | None = None


Entry = TypeVar("Entry", _Image, _Annotation)


@dataclass(frozen=True)
class Content:
    """What a COCO file says: I images, A annotations. Each value is valid by itself.

    file: for messages. file_names: I of them. image_ids (I,): int64. sizes (I, 2): float64 (height, width), 0 where the
    file has none. categories: as in the file.
    annotations: "image_id", "category_id" (A,) int64; "id" (A,) int64 or objects; "bbox" (A, 4) float64 (x, y, width,
    height); "iscrowd" (A,) float64 of 0 and 1; "area" (A,) float64, NaN where the file has no usable one.
    """

    file: Path
    file_names: list[str]
    image_ids: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.float64]
    categories: Any
    annotations: dict[str, Column]


def read_columns(file: Path) -> Content | None:
    """Return the content of a usual file, None for one that is damaged or has wrong values or other types."""
    try:
        with file.open("rb") as opened:
            text = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        document = msgspec.json.decode(text, type=_Document)
        names, image_columns = [], []
        for images in _pieces(memoryview(document.images), _Image):
            names += [image.file_name or name_of_url(image.coco_url) for image in images]
            image_columns.append(_image_columns(images))
        columns = [_annotation_columns(piece) for piece in _pieces(memoryview(document.annotations), _Annotation)]
    except (msgspec.MsgspecError, OSError, ValueError, OverflowError, RecursionError):
        return None
    merged = _concatenated(image_columns)
    content = Content(file, names, merged["id"], merged["size"], document.categories, _concatenated(columns))
    return content if _has_usual_values(content) else None


def _has_usual_values(content: Content) -> bool:
    sizes, annotations = content.sizes, content.annotations
    return (
        all(content.file_names)
        and bool(((sizes >= 0) & (sizes <= LARGEST_SIZE)).all())
        and bool(np.isin(annotations["iscrowd"], (0, 1)).all())
        and not bool((annotations["area"] < 0).any())
        and bool(np.isfinite(annotations["bbox"]).all())
        and not bool(np.isinf(annotations["area"]).any())
    )


def name_of_url(url: str | None) -> str:
    """Return the last folder and the name in an image's URL, which LVIS has instead of a file_name; "" without one."""
    return "/".join(url.split("/")[-2:]) if url and "://" in url else ""


def _pieces(array: memoryview, kind: type[Entry]) -> Iterator[list[Entry]]:
    """Yield the elements of a JSON array of objects, those of one piece of the text at a time.

    A piece ends before an object that begins with the same key as the first object. That may be an object inside
    another one, or text that looks like an object; then the piece cannot be decoded, as brackets and quotes balance in
    JSON, and a later end is tried.
    """
    decoder = msgspec.json.Decoder(list[kind])  # type: ignore[valid-type]
    first = re.match(rb'\[\s*\{\s*("[^"]*")', array)
    between = re.compile(rb"\}\s*,\s*(?=\{\s*%b)" % re.escape(first[1] if first else b""))
    start = 1
    place = start + _PIECE
    while end := between.search(array, place):
        try:
            piece = decoder.decode(b"[" + array[start : end.start() + 1] + b"]")
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            place = end.end()
            continue
        yield piece
        start = end.end()
        place = start + _PIECE
    yield decoder.decode(b"[" + array[start:])


def _image_columns(images: list[_Image]) -> dict[str, Column]:
    sizes = [(image.height or 0, image.width or 0) for image in images]
    return {"id": _int64([image.id for image in images]), "size": np.array(sizes, np.float64).reshape(-1, 2)}


def _annotation_columns(annotations: list[_Annotation]) -> dict[str, Column]:
    return {
        "id": _int64([a.id for a in annotations]),
        "image_id": _int64([a.image_id for a in annotations]),
        "category_id": _int64([a.category_id for a in annotations]),
        "bbox": np.array([a.bbox for a in annotations], np.float64).reshape(-1, 4),
        "iscrowd": np.array([a.iscrowd or 0 for a in annotations], np.float64),
        "area": np.array([a.area for a in annotations], np.float64),  # None becomes NaN
    }


def _int64(values: list[int]) -> npt.NDArray[np.int64]:
    return np.array(values, np.int64)


def _concatenated(pieces: list[dict[str, Column]]) -> dict[str, Column]:
    """Return the columns of all pieces; the pieces are emptied, as memory for all columns twice would be much."""
    return {key: np.concatenate([piece.pop(key) for piece in pieces]) for key in list(pieces[0])}
