from __future__ import annotations

import re
from pathlib import Path

import pytest

from paa.data.images import decoders
from paa.data.images.non_images import describe_file
from paa.data.images.read import read_image, read_size
from paa.errors import ImageError


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "an empty file"),
        (b"hello", "a text, not an image"),
        (b"1 0.5 0.5 0.2 0.2\n", "a text, not an image"),
        ("Grüße".encode(), "a text, not an image"),
        ("hello".encode("utf-16"), "a text, not an image"),
        (b"<!DOCTYPE html>\n<html><body>404", "a web page, not an image: its address gave an error or a log-in page"),
        (b"\xef\xbb\xbf\n  <HTML>", "a web page, not an image: its address gave an error or a log-in page"),
        (b"<!-- made by x -->\n<html lang=en>", "a web page, not an image: its address gave an error or a log-in page"),
        (b"<?xml version='1.0'?><annotation/>", "an XML file, not an image"),
        (b"<?xml version='1.0'?>\n<svg width='3'/>", "an SVG drawing: convert it to PNG"),
        (bytes(5000), "holds zeros only: its copy or download failed"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer, not the image it points to"),
        (b"%PDF-1.7", "a PDF, not an image"),
        (b"PK\x03\x04 and more", "a zip archive, not an image"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "a video, not an image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1", "a HEIC image, which needs the package pillow-heif"),
        (b"\0\x05\x16\x07\0\2\0\0Mac OS X", "macOS's notes on a file, not the image itself"),
        (b"\xff\xd8 no more", "not an image of a known format"),
        (b"\x01\x02\x03\x04", "not an image of a known format"),
    ],
    ids=repr,
)
def test_the_error_describes_what_is_not_an_image(
    tmp_path: Path, content: bytes, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoders, "_register_heif", lambda: False)
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    for read in (read_image, read_size):
        with pytest.raises(ImageError, match=f"^{re.escape(f'{path}: {says}')}[^\n]*$"):
            read(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"Rar!\x1a\x07", "a RAR archive"),
        (b"\x1f\x8b\x08", "compressed (gzip)"),
        (b"\x1aE\xdf\xa3", "a video (Matroska, WebM)"),
        (b"RIFF\0\0\0\0AVI LIST", "a video (AVI)"),
        (b"\0\0\0\x18ftypavif", "an AVIF image, which the Pillow installed here cannot decode"),
        (b"\0\0\0\x18ftypcrx ", "a camera's raw image (CR3)"),
        (b"\xff\x0a\0\0", "a JPEG XL image"),
        (b"\x93NUMPY\x01", "a NumPy array"),
        (b"\xef\xbb\xbf \n", None),
        (b"\xc3\x28\xa0\xa1", None),
    ],
    ids=repr,
)
def test_other_files_are_described(tmp_path: Path, content: bytes, says: str | None) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    said = describe_file(path)
    assert said is None if says is None else str(said).startswith(says)


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    assert describe_file(tmp_path / "missing.jpg") is None
