"""Images in bytes from another machine."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image

from paa.data.images.decoders import MAX_PIXELS_VARIABLE
from paa.data.images.foreign import decode_foreign
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
        decode_foreign(bomb(60_000, 60_000), "bomb.png")


def test_formats_that_start_programs_are_refused() -> None:
    eps = io.BytesIO()
    Image.new("RGB", (8, 8)).save(eps, "EPS")
    with pytest.raises(ImageError, match=r"^a.eps: an image in the format EPS, which is not accepted from another"):
        decode_foreign(eps.getvalue(), "a.eps")


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
        decode_foreign(data, "x")
