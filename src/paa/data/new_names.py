"""Names for the images of a data set in the folder of a new one, where no two of them may be taken for each other."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from PIL import UnidentifiedImageError

from paa.data.images.decoders import decodable_suffixes, open_image
from paa.data.index import DatasetIndex
from paa.errors import ImageError


class NewNames:
    """Names the images of one split after the other.

    flat: the names have no folders: seq1/a.jpg becomes seq1_a.jpg.
    """

    def __init__(self, flat: bool) -> None:
        self._flat = flat
        self._taken: dict[tuple[str, str], _Annotated] = {}

    def of_split(self, folder: str, index: DatasetIndex) -> list[str]:
        """Return the names (I,) of a split's images in `folder`, as near to their own as may be.

        A name differs from every other in the folder by more than its suffix and capitals. An image that an earlier
        split has with the same objects gets the same name.
        """
        paths = [Path(os.path.abspath(index.path(i))) for i in range(len(index))]  # noqa: PTH100 - without ".."
        base = Path(os.path.commonpath([path.parent for path in paths]))
        own: set[str] = set()
        names = []
        for i, path in enumerate(paths):
            name = self._clean(path.relative_to(base)) + _missing_suffix(path)
            annotated = _annotated(index, i)
            stem, suffix = _divided(name)
            number, key = 1, stem.casefold()
            while key in own or self._taken.get((folder, key), annotated) != annotated:
                number += 1
                key = f"{stem}_{number}".casefold()
            own.add(key)
            self._taken[folder, key] = annotated
            names.append(f"{stem}{f'_{number}' if number > 1 else ''}{suffix}")
        return names

    def _clean(self, path: Path) -> str:
        """Return a name that every reader finds: without hidden parts, blanks at an end, and odd characters."""
        parts = [part.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for part in path.parts]
        parts = ["".join(c if c.isprintable() and c != "\\" else "_" for c in part).strip() for part in parts]
        parts = [f"_{part[1:]}" if part.startswith(".") else part or "_" for part in parts]
        return "_".join(parts) if self._flat else "/".join(parts)


_Annotated = tuple[str, bytes, bytes, bytes]
"""An image file and its objects, to compare them."""


def _annotated(index: DatasetIndex, i: int) -> _Annotated:
    rows = slice(index.offsets[i], index.offsets[i + 1])
    columns = (index.boxes, index.labels, index.crowd)
    boxes, labels, crowd = (column[rows].tobytes() for column in columns)
    return str(index.path(i)), boxes, labels, crowd


def _divided(name: str) -> tuple[str, str]:
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix), suffix


def _missing_suffix(path: Path) -> str:
    """Return the suffix of an image's format where the file has none by which images are recognised, else ""."""
    if path.suffix.lower() in decodable_suffixes():
        return ""
    try:
        with open_image(path) as image:
            suffix = f".{(image.format or '').lower()}"
    except (OSError, UnidentifiedImageError, ImageError):
        return ""
    return suffix if suffix in decodable_suffixes() else ""
