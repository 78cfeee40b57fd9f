from __future__ import annotations

import io

import pytest
from PIL import Image

from paa.data.images.webp import webp_size


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif"}], ids=str)
def test_the_size_of_a_webp_is_in_its_first_bytes(options: dict[str, object]) -> None:
    content = io.BytesIO()
    Image.new("RGB", (37, 21)).save(content, "WEBP", **options)
    assert webp_size(content.getvalue()[:30]) == (37, 21)
    assert webp_size(content.getvalue()[:29]) is None
