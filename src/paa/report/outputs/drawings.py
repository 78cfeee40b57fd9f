"""The output `images`: STEM.jpg for each image and STEM.mp4 for each video, with the detections drawn on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from paa.data.video.write import AddFrame, video_file
from paa.drawing.jpeg import jpeg
from paa.inference.earlier import COMMENT
from paa.report.outputs.entry import Entry, Write
from paa.runtime.files import whole_file


@contextmanager
def drawings(folder: Path, names: tuple[str, ...]) -> Iterator[Write]:
    """Yield what writes one drawing, whole or not at all, or adds one to its video.

    A video is whole when the next image or video begins, and when all is written, also by an error.
    """
    with ExitStack() as video:
        add: AddFrame | None = None
        added_to = ""

        def write(entry: Entry) -> None:
            nonlocal add, added_to
            drawing = entry.detections.plot(entry.image)
            if add is not None and entry.drawn != added_to:
                video.close()
                add = None
            if entry.time is None:
                save_drawing(drawing, folder / entry.drawn)
                return
            if add is None:
                add, added_to = video.enter_context(video_file(folder / entry.drawn, COMMENT)), entry.drawn
            add(np.asarray(drawing), entry.time)

        yield write


def save_drawing(drawing: Image.Image, path: Path) -> None:
    """Save a drawing as JPEG, whole or not at all; smaller where it is longer than a JPEG can be."""
    with whole_file(path, durable=False) as temporary:
        temporary.write_bytes(jpeg(drawing, COMMENT))
