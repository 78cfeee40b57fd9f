"""One image of a prediction, as every form of output takes it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from paa.data.images.rgb import Rgb
from paa.detections import Detections


@dataclass(frozen=True, eq=False)
class Entry:
    """An image and its detections. path: as the user named it. stem: of its own files, unique in the output folder."""

    path: Path
    stem: str
    image: Rgb
    detections: Detections


Write = Callable[[Entry], None]
"""Adds an image to an output; RunError if it cannot be written."""

Output = Callable[[Path, tuple[str, ...]], AbstractContextManager[Write]]
"""Opens an output in a folder that exists, for a model with these class names."""
