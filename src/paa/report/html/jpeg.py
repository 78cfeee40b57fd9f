"""Images inside a page: small JPEGs as data URIs."""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

_QUALITIES = (80, 65, 50, 35, 20)


def data_uri(pixels: npt.NDArray[np.uint8], side: int, most: int) -> str:
    """Return a JPEG of at most `side` pixels a side, in the best quality of at most about `most` bytes."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((side, side))
    for quality in _QUALITIES:
        buffer = BytesIO()
        image.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= most:
            break
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
