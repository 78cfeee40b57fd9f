"""One image of a prediction, or one frame of a video, as every form of output takes it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from paa.data.images.rgb import Rgb
from paa.detections import Detections


@dataclass(frozen=True, eq=False)
class Entry:
    """An image and its detections.

    file: the image, video or camera as the user named it. name: of its own files without a suffix, unique in the output
    folder. frame, time: the frame's number from 0 and its seconds in the video; None for an image by itself.
    """

    file: str
    name: str
    image: Rgb
    detections: Detections
    frame: int | None = None
    time: float | None = None

    @property
    def stem(self) -> str:
        """The name of files about this image alone: `photo`, or for a frame `clip/000012`."""
        return self.name if self.frame is None else f"{self.name}/{self.frame:06d}"

    @property
    def drawn(self) -> str:
        """The name of the file with its drawing: an image, or the video that all its frames are in."""
        return drawn_name(self.name, self.frame is not None)


def drawn_name(name: str, of_frames: bool) -> str:
    """Return the file name of a drawing; of_frames: it is a video."""
    return f"{name}.mp4" if of_frames else f"{name}.jpg"


Write = Callable[[Entry], None]
"""Adds an image to an output; RunError if it cannot be written."""

Output = Callable[[Path, tuple[str, ...]], AbstractContextManager[Write]]
"""Opens an output in a folder that exists, for a model with these class names."""
