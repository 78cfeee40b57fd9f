"""Small videos for tests, written by PyAV itself: of any format, with any times, turned."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

av = pytest.importorskip("av", reason="av is an extra")

Rgb = npt.NDArray[np.uint8]
CODECS = {"mp4": "libx264", "matroska": "libx264", "mpegts": "libx264", "avi": "mpeg4", "webm": "libvpx-vp9"}
FORMATS = {".mp4": "mp4", ".mkv": "matroska", ".mts": "mpegts", ".avi": "avi", ".webm": "webm"}
TURNS = {
    "as it is": (1, 0, 0, 1),
    "clockwise": (0, 1, -1, 0),
    "upside down": (-1, 0, 0, -1),
    "anticlockwise": (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
}
"""Display matrices (a, b, c, d) of MP4: a point (x, y) is shown at (a x + c y, b x + d y)."""


def write_video(
    path: Path,
    images: Sequence[Rgb],
    *,
    times: Sequence[float] | None = None,
    rate: Fraction | int = 25,
    index_first: bool = False,
) -> Path:
    """Write images as a video of the format that the path's suffix says.

    times: of each in seconds; default: by the rate. index_first: the index of an MP4 stands before its frames.
    """
    path.parent.mkdir(exist_ok=True)
    format = FORMATS[path.suffix]
    options = {"movflags": "faststart"} if index_first else {}
    with path.open("wb") as file, av.open(file, "w", format=format, options=options) as container:
        quality = {"flags": "qscale", "global_quality": "236"} if CODECS[format] == "mpeg4" else {}
        stream = container.add_stream(CODECS[format], rate=rate, options=quality)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = (
                (i, 1 / Fraction(rate)) if times is None else (round(1000 * times[i]), Fraction(1, 1000))
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turned(path: Path, turn: str) -> Path:
    """Change the display matrix of an MP4 file."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 44
    a, b, c, d = (round(value * 0x10000) for value in TURNS[turn])
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000)
    path.write_bytes(data)
    return path


def shades(count: int, size: tuple[int, int] = (48, 64)) -> list[Rgb]:
    """Return images (H, W) that are evenly grey, each a little lighter than the one before: its number can be read."""
    return [np.full((*size, 3), 20 + 3 * i, np.uint8) for i in range(count)]


def numbers(images: Sequence[Rgb]) -> list[int]:
    """Return which of `shades` each image is."""
    return [round((float(image.mean()) - 20) / 3) for image in images]


def noise(count: int, size: tuple[int, int] = (48, 64)) -> list[Rgb]:
    """Return images (H, W) that take much room in a file."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (*size, 3), dtype=np.uint8) for _ in range(count)]
