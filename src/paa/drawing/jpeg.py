"""Drawings as JPEGs."""

from __future__ import annotations

from io import BytesIO

from PIL import Image

_LONGEST_SIDE = 65_500


def jpeg(drawing: Image.Image, comment: str = "") -> bytes:
    """Return the file of a drawing, smaller where it is longer than a JPEG can be. comment: text in the file."""
    if max(drawing.size) > _LONGEST_SIDE:
        drawing = drawing.copy()
        drawing.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    buffer = BytesIO()
    drawing.save(buffer, "JPEG", quality=92, comment=comment)
    return buffer.getvalue()
