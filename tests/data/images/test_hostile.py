"""Images in bytes from anywhere: bombs, formats that are not read, what is no image."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from pathlib import Path

import pytest
from PIL import Image

from paa.data.images.decoders import MAX_PIXELS_VARIABLE
from paa.data.images.read import decode_image, read_image, read_size
from paa.errors import ImageError, TooManyPixelsError


def bomb(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes whose header promises many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_bomb_is_refused_by_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MAX_PIXELS_VARIABLE, "1000000")
    with pytest.raises(TooManyPixelsError, match=r"^bomb.png: has 3,600,000,000 pixels \(60000 x 60000\), more than"):
        decode_image(bomb(60_000, 60_000), "bomb.png")


@pytest.mark.parametrize("format", ["EPS", "PCX", "ICO", "SGI"])
def test_formats_that_hardly_anybody_uses_are_refused_by_name(tmp_path: Path, format: str) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (16, 16)).save(path, format)
    for read in (read_image, read_size, lambda path: decode_image(path.read_bytes(), str(path))):
        with pytest.raises(
            ImageError, match=f"^{path}: an image in the format {format}, which is not read: convert it"
        ):
            read(path)


FOUND = {
    "no depth": b"BM\x80\0\0\0" + bytes(4) + b"\x36\0\0\0\x28\0\0\0\x10\0\0\0\x0c\0\0\0\1" + bytes(97),
    "no width": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(8) + b"\x08\2\0\0\0" + bytes(4) + b"\0\0\0\0IDAT",
    "a length of 1.2 GB": b"RIFF\xea\0\0\0WEBPVP8 \xaa\0\x57\x47\x10\2\0\x9d\1\x2a\x10\0\x0c\0" + bytes(90),
}
"""Files whose repair failed, or took gigabytes, when fuzzing found them."""


@pytest.mark.parametrize("name", FOUND)
def test_files_that_fuzzing_found(tmp_path: Path, name: str) -> None:
    path = tmp_path / "image"
    path.write_bytes(FOUND[name])
    tracemalloc.start()
    for read in (read_size, read_image):
        with pytest.raises(ImageError, match=f"^{path}: "):
            read(path)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "an empty file"),
        (bytes(9), "holds zeros only"),
        (b"%PDF-1.7", "a PDF, not an image"),
        (b"<!doctype html><p>", "a web page, not an image"),
        (b"\xff\xd8\xff\xe0\xff", "cannot be read|not an image"),
    ],
)
def test_what_is_no_image_is_named(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=f"^x: {message}"):
        decode_image(data, "x")
