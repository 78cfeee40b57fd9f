"""The content of a COCO file as columns, without a Python object for each annotation, whatever the file's size.

The text is mapped, not read, and decoded in pieces; what is not needed, such as masks, is skipped in the text. There is
one shape of file that this reads: the usual one. Of any other it says so, and leaves it to `coco_fields.py`, which
reads what is written in another way and names what is wrong. What both read comes out the same.
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
    """What a COCO file says: I images, A annotations, each field by itself valid.

    file_names: I of them. image_ids (I,): int64. sizes (I, 2): float64 (height, width), 0 where the file has none.
    categories: as in the file.
    annotations: "image_id", "category_id" (A,) int64; "id" (A,) int64 or objects; "bbox" (A, 4) float64 (x, y, width,
    height); "iscrowd" (A,) float64 of 0 and 1; "area" (A,) float64, NaN where the file has none that can be used.
    """

    file_names: list[str]
    image_ids: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.float64]
    categories: Any
    annotations: dict[str, Column]


def read_columns(file: Path) -> Content | None:
    """Return the content of a file of the usual shape, None for any other: broken, or with values of other types."""
    try:
        with file.open("rb") as opened:
            text = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        document = msgspec.json.decode(text, type=_Document)
        file_names: list[str] = []
        image_pieces = []
        for images in _pieces(memoryview(document.images), _Image):
            file_names += [image.file_name or name_of_url(image.coco_url) for image in images]
            image_pieces.append(
                (
                    _whole([i.id for i in images]),
                    np.array([(i.height or 0, i.width or 0) for i in images], np.float64).reshape(-1, 2),
                )
            )
        pieces = [_columns(piece) for piece in _pieces(memoryview(document.annotations), _Annotation)]
    except (msgspec.MsgspecError, OSError, ValueError, OverflowError, RecursionError):
        return None
    image_ids, sizes = (np.concatenate(column) for column in zip(*image_pieces))
    annotations = {key: np.concatenate([piece.pop(key) for piece in pieces]) for key in list(pieces[0])}
    usual = (
        all(file_names)
        and bool(((sizes >= 0) & (sizes <= LARGEST_SIZE)).all())
        and bool(np.isin(annotations["iscrowd"], (0, 1)).all())
        and not bool((annotations["area"] < 0).any())
        and bool(np.isfinite(annotations["bbox"]).all())
        and not bool(np.isinf(annotations["area"]).any())
    )
    return Content(file_names, image_ids, sizes.reshape(-1, 2), document.categories, annotations) if usual else None


def name_of_url(url: str | None) -> str:
    """Return the folder and name that LVIS gives in the image's URL, without a file_name; "" for no such text."""
    return "/".join(url.split("/")[-2:]) if url and "://" in url else ""


def _pieces(array: memoryview, kind: type[Entry]) -> Iterator[list[Entry]]:
    """Yield the elements of a JSON array of objects, a piece of the text at a time.

    The text is cut where an object begins with the key that the first one begins with. Brackets and quotes balance in
    JSON, so a piece whose end is inside an object cannot be decoded, and is tried with a later end.
    """
    decoder = msgspec.json.Decoder(list[kind])  # type: ignore[valid-type]
    first = re.match(rb'\[\s*\{\s*("[^"]*")', array)
    between = re.compile(rb"\}\s*,\s*(?=\{\s*%b)" % re.escape(first[1] if first else b""))
    start = 1
    place = start + _PIECE
    while cut := between.search(array, place):
        try:
            piece = decoder.decode(b"[" + array[start : cut.start() + 1] + b"]")
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            place = cut.end()
            continue
        yield piece
        start = cut.end()
        place = start + _PIECE
    yield decoder.decode(b"[" + array[start:])


def _columns(annotations: list[_Annotation]) -> dict[str, Column]:
    return {
        "id": _whole([a.id for a in annotations]),
        "image_id": _whole([a.image_id for a in annotations]),
        "category_id": _whole([a.category_id for a in annotations]),
        "bbox": np.array([a.bbox for a in annotations], np.float64).reshape(-1, 4),
        "iscrowd": np.array([a.iscrowd or 0 for a in annotations], np.float64),
        "area": np.array([a.area for a in annotations], np.float64),  # None becomes NaN
    }


def _whole(values: list[int]) -> npt.NDArray[np.int64]:
    return np.array(values, np.int64)
