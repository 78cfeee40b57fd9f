"""Drawings as JPEGs."""

from __future__ import annotations

import io

from PIL import Image

from paa.drawing.jpeg import jpeg


def test_a_drawing_longer_than_a_jpeg_can_be() -> None:
    drawing = Image.new("RGB", (66_000, 4))
    with Image.open(io.BytesIO(jpeg(drawing, "a comment"))) as read:
        assert read.size == (65_500, 4)
        assert read.info["comment"] == b"a comment"
    assert drawing.size == (66_000, 4)
    with Image.open(io.BytesIO(jpeg(drawing.crop((0, 0, 20, 4))))) as read:
        assert read.size == (20, 4)
        assert "comment" not in read.info
