"""The output `images`: STEM.jpg for each image, with its detections drawn on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image

from paa.report.drawing import draw_detections
from paa.report.outputs.entry import Entry, Write
from paa.runtime.files import whole_file

_MAX_JPEG_SIDE = 65_500


@contextmanager
def drawings(folder: Path, names: tuple[str, ...]) -> Iterator[Write]:
    """Yield what writes one drawing, whole or not at all."""

    def write(entry: Entry) -> None:
        save_drawing(draw_detections(entry.image, entry.detections), folder / f"{entry.stem}.jpg")

    yield write


def save_drawing(drawing: Image.Image, path: Path) -> None:
    """Save a drawing as JPEG, whole or not at all; smaller where it is longer than a JPEG can be."""
    drawing.thumbnail((_MAX_JPEG_SIDE, _MAX_JPEG_SIDE))
    buffer = BytesIO()
    drawing.save(buffer, "JPEG", quality=92)
    with whole_file(path, durable=False) as temporary:
        temporary.write_bytes(buffer.getvalue())
