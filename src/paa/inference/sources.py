"""Images that a person names: as files and folders, or in memory."""

from __future__ import annotations

import glob
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
from PIL import Image
from torch import Tensor

from paa.data.files.folders import files_in
from paa.data.images.decoders import decodable_suffixes, undecodable_suffixes
from paa.errors import DataError
from paa.runtime.urls import nothing_at

Source = str | Path | Image.Image | npt.NDArray[Any] | Tensor
"""An image: a path, a PIL image, an array (H, W), (H, W, 3 or 4) or a tensor (3, H, W), of uint8 or of floats in 0..1.

Arrays and tensors are RGB (OpenCV's are BGR: `array[:, :, ::-1]`)."""


def find_images(paths: Sequence[Path], output: Path | None = None) -> list[Path]:
    """Return the image files among the paths, and those in folders among them: at any depth, sorted, not hidden.

    A path that does not exist may be a pattern, as `photos/cam_*/*.jpg`, in which ** stands for folders at any depth.
    In a folder, and among what fits a pattern, the suffix decides what is an image, even if it cannot be decoded here.
    output: the folder for results, of which the drawings of an earlier run are not taken as images. DataError for a
    path that does not exist, and for a folder or a pattern without images.
    """
    found: list[Path] = []
    suffixes = decodable_suffixes() | undecodable_suffixes()
    drawn = set() if output is None else _earlier_drawings(output)
    for path in paths:
        if path.is_dir():
            inside = [p for p in files_in(path, recursive=True) if p.suffix.lower() in suffixes]
            if drawn:
                inside = [p for p in inside if p.resolve() not in drawn]
            if not inside:
                raise DataError(f"{path}: no images in this folder ({', '.join(sorted(decodable_suffixes()))})")
            found.extend(inside)
        elif path.is_file():
            found.append(path)
        elif glob.has_magic(str(path)):
            # Path.glob takes no absolute pattern, and hidden files too
            fitting = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207
            inside = [p for p in fitting if p.suffix.lower() in suffixes and p.is_file() and p.resolve() not in drawn]
            if not inside:
                raise DataError(f"{path}: no image fits this pattern")
            found.extend(inside)
        else:
            raise DataError(nothing_at(path, "file or folder"))
    return found


def _earlier_drawings(output: Path) -> set[Path]:
    """Return the drawings that the detections.json of a folder names; none if there is no such file."""
    try:
        records = json.loads((output / "detections.json").read_text(encoding="utf-8"))
        return {(output / record["drawn"]).resolve() for record in records}
    except (OSError, ValueError, TypeError, KeyError):
        return set()
