"""Describing a file that was expected to be an image and that no decoder recognises."""

from __future__ import annotations

from pathlib import Path

_STARTS = {
    b"version https://git-lfs": "a Git LFS pointer, not the image it points to (git lfs pull fetches it)",
    b"%PDF": "a PDF, not an image: export its pages as images",
    b"PK\x03\x04": "a zip archive, not an image: unpack it first",
    b"Rar!": "a RAR archive, not an image: unpack it first",
    b"\x1f\x8b": "compressed (gzip), not an image: unpack it first",
    b"\x1aE\xdf\xa3": "a video (Matroska, WebM), not an image: extract its frames first",
    b"\x00\x05\x16\x07": "macOS's notes on a file, not the image itself",
    b"Bud1": "macOS's notes on a folder, not an image",
    b"\x93NUMPY": "a NumPy array, not an image",
    b"\x89HDF": "an HDF5 file, not an image",
    b"\xff\x0a": "a JPEG XL image, which cannot be decoded here: convert it to PNG or JPEG",
    b"\0\0\0\x0cJXL ": "a JPEG XL image, which cannot be decoded here: convert it to PNG or JPEG",
    b"v/1\x01": "an OpenEXR image, which cannot be decoded here: convert it to PNG or JPEG",
    b"FUJIFILMCCD-RAW": "a camera's raw image: convert it to JPEG or PNG",
}
_BRANDS = {
    "a HEIC image, which needs the package pillow-heif (pip install pillow-heif)": (
        *(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"heif"),
    ),
    "an AVIF image, which the Pillow installed here cannot decode": (b"avif", b"avis"),
    "a camera's raw image (CR3): convert it to JPEG or PNG": (b"crx ",),
}
"""Brands of files that begin with a box `ftyp` (ISO 14496-12) and are images; those of other brands are videos."""


def is_image_brand(brand: bytes) -> bool:
    """Return whether a file is an image that begins with a box `ftyp` of this brand, four bytes; else it is a video."""
    return any(brand in brands for brands in _BRANDS.values())


def describe_file(path: Path) -> str | None:
    """Return what a file is, in words that can follow its name in a message; None for an unknown kind."""
    try:
        with path.open("rb") as file:
            start = file.read(4096)
            zeros = not any(start) and all(not any(block) for block in iter(lambda: file.read(2**20), b""))
    except OSError:
        return None
    return describe_bytes(start, zeros)


def describe_bytes(start: bytes, zeros: bool) -> str | None:
    """Return what a file is that begins with these bytes, as `describe_file` does. zeros: it holds zeros only."""
    if not start:
        return "an empty file"
    if zeros:
        return "holds zeros only: its copy or download failed"
    for known, words in _STARTS.items():
        if start.startswith(known):
            return words
    if start[4:8] == b"ftyp":
        return next((words for words, brands in _BRANDS.items() if start[8:12] in brands), None) or (
            "a video, not an image: extract its frames first"
        )
    if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
        return "a video (AVI), not an image: extract its frames first"
    return _kind_of_text(start)


def _kind_of_text(start: bytes) -> str | None:
    """Return the kind of text that a file begins with, None if it is no text."""
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "a text, not an image"
    if b"\0" in start:
        return None
    # a character of UTF-8 may be cut at the end of what was read
    text = start.decode("utf-8", "replace").rstrip("\ufffd").lstrip("\ufeff").lstrip()
    if not text:
        return None
    low = text[:1000].lower()
    if low.startswith("<svg") or (low.startswith("<?xml") and "<svg" in low):
        return "an SVG drawing: convert it to PNG"
    if low.startswith(("<!doctype html", "<html", "<head", "<body", "<script")) or "<html" in low:
        return "a web page, not an image: its address gave an error or a log-in page"
    if low.startswith("<"):
        return "an XML file, not an image"
    if "\ufffd" in text or not "".join(text.split()).isprintable():
        return None
    return "a text, not an image"
