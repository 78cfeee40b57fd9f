from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paa.data.images.decoders import MAX_PIXELS_VARIABLE
from paa.data.images.read import read_image
from paa.errors import ImageError, TooManyPixelsError
from paa.serve.images import decode_upload


def test_files_are_read_as_from_the_disk(photos: list[Path]) -> None:
    for path in photos[:2]:
        np.testing.assert_array_equal(decode_upload(path.read_bytes(), path.name), read_image(path))


def test_a_file_without_its_end_is_repaired_in_silence(photos: list[Path], caplog: pytest.LogCaptureFixture) -> None:
    data = photos[0].read_bytes()
    assert decode_upload(data[:-20], "cut.jpg").shape == read_image(photos[0]).shape
    assert caplog.messages == []


def bomb(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes whose header promises many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_bomb_is_refused_by_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MAX_PIXELS_VARIABLE, "1000000")
    with pytest.raises(TooManyPixelsError, match=r"^bomb.png: has 3,600,000,000 pixels \(60000 x 60000\), more than"):
        decode_upload(bomb(60_000, 60_000), "bomb.png")


def test_formats_that_start_programs_are_refused() -> None:
    eps = io.BytesIO()
    Image.new("RGB", (8, 8)).save(eps, "EPS")
    with pytest.raises(ImageError, match=r"^a.eps: an image in the format EPS, which is not accepted: send a JPEG"):
        decode_upload(eps.getvalue(), "a.eps")


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
        decode_upload(data, "x")
