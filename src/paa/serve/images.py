"""From the bytes that a client sends to an image: only of usual formats, and of a limited number of pixels."""

from __future__ import annotations

from paa.data.images.decoders import open_image
from paa.data.images.read import decode_image
from paa.data.images.remarks import collected_remarks
from paa.data.images.rgb import Rgb
from paa.errors import ImageError

_FORMATS = frozenset({"JPEG", "MPO", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM", "TGA"}) | frozenset(
    {"JPEG2000", "AVIF", "HEIF"}
)
"""Pillow has decoders of some thirty formats more, such as EPS, which starts another program."""


def decode_upload(data: bytes, name: str) -> Rgb:
    """Return the image in what was sent; name: what messages call it.

    ImageError for anything else, and TooManyPixelsError, before anything is decoded, for too large an image.
    """
    format = _format(data)
    if format is not None and format not in _FORMATS:
        raise ImageError(f"{name}: an image in the format {format}, which is not accepted: send a JPEG or PNG")
    with collected_remarks():  # clients' images are not spoken of in the server's log
        return decode_image(data, name)


def _format(data: bytes) -> str | None:
    """Return what Pillow calls the format of an image; None where the header cannot be read."""
    try:
        with open_image(data) as image:
            return image.format
    except Exception:  # of any kind, as decoders raise; `decode_image` says what is wrong, or repairs it
        return None
