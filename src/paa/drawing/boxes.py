"""Draw boxes with captions on an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from paa.drawing.palette import class_colour, text_colour

_Box = tuple[float, float, float, float]


def draw_objects(
    image: Image.Image, boxes: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], captions: Sequence[str]
) -> Image.Image:
    """Return a copy with these boxes and captions drawn on it, the first on top; all text stays inside the image.

    boxes (n, 4): continuous xyxy pixels of the image. labels (n,): from 0, for the colours. captions: the n texts.
    """
    image = image.convert("RGB")
    width, height = image.size
    pen = ImageDraw.Draw(image)
    line = max(2, round(max(width, height) / 400))
    font = font_of(min(28, max(11, max(width, height) / 45)))
    colours = [class_colour(int(label)) for label in labels]
    corners = [_inside(box, width, height) for box in boxes]
    for box, colour in reversed(list(zip(corners, colours))):
        pen.rectangle(box, outline=colour, width=line)
    texts = [shortened(caption, font, width - 6) for caption in captions]
    places: list[_Box] = []
    for box, text in zip(corners, texts):
        size = (font.getlength(text) + 6, font.size + 4)
        places.append(_label_place(box, size, (width, height), places))
    for place, text, colour in reversed(list(zip(places, texts, colours))):
        pen.rectangle(place, fill=colour)
        middle = ((place[0] + place[2]) / 2, (place[1] + place[3]) / 2)
        pen.text(middle, text, fill=text_colour(colour), font=font, anchor="mm")
    return image


def font_of(size: float) -> ImageFont.FreeTypeFont:
    """Return Pillow's own font, which needs no file on the machine."""
    font = ImageFont.load_default(size=size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # Pillow returns its bitmap font only where no size is given
    return font


def _inside(box: npt.NDArray[np.float32], width: int, height: int) -> _Box:
    """Return the part of the box within the image, as the corners of its first and last pixel."""
    x1, y1, x2, y2 = (float(v) for v in np.clip(box, 0, [width, height, width, height]))
    x1, y1 = min(x1, width - 1), min(y1, height - 1)
    return x1, y1, max(x2 - 1, x1), max(y2 - 1, y1)


def _label_place(box: _Box, size: tuple[float, float], image: tuple[int, int], placed: Sequence[_Box]) -> _Box:
    """Return the place for a label of this size: a corner of its box where no better detection has its label.

    placed: the labels of better detections. Where all corners are taken, the label goes to the first corner, under the
    other label.
    """
    (x1, y1, x2, y2), (width, height) = box, size
    corners = [(x1, y1 - height), (x1, y1), (x2 - width, y1 - height), (x1, y2 - height), (x1, y2)]
    places = []
    for left, top in corners:
        left = min(max(left, 0), image[0] - 1 - width)
        top = min(max(top, 0), image[1] - 1 - height)
        places.append((left, top, left + width, top + height))
    return next((place for place in places if not any(_overlap(place, other) for other in placed)), places[0])


def _overlap(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def shortened(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """Return the text, cut to end in an ellipsis if it is wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
