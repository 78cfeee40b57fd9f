"""Images in bytes from another machine: only of usual formats, whose decoders start no other program."""

from __future__ import annotations

from paa.data.images.decoders import open_image
from paa.data.images.read import decode_image
from paa.data.images.rgb import Rgb
from paa.errors import ImageError

_FORMATS = frozenset({"JPEG", "MPO", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM", "TGA"}) | frozenset(
    {"JPEG2000", "AVIF", "HEIF"}
)
"""Pillow has decoders of some thirty formats more, such as EPS, which starts another program."""


def decode_foreign(data: bytes, name: str) -> Rgb:
    """Return the image in bytes from another machine; name: what messages call it.

    ImageError for anything else, and TooManyPixelsError, before anything is decoded, for too large an image.
    """
    format = _format(data)
    if format is not None and format not in _FORMATS:
        raise ImageError(
            f"{name}: an image in the format {format}, which is not accepted from another machine: take a JPEG or PNG"
        )
    return decode_image(data, name)


def _format(data: bytes) -> str | None:
    """Return what Pillow calls the format of an image; None where the header cannot be read."""
    try:
        with open_image(data) as image:
            return image.format
    except Exception:  # of any kind, as decoders raise; `decode_image` says what is wrong, or repairs it
        return None
