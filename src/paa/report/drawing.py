"""Draw boxes on images: the detections in one image, and sheets with ground truth and detections side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from paa.detections import Detections
from paa.report.palette import class_colour, text_colour

_Box = tuple[float, float, float, float]
_INK, _PAPER = (40, 40, 40), (255, 255, 255)


@dataclass(frozen=True)
class Comparison:
    """One image of a contact sheet, with its ground truth and its detections.

    image (H, W, 3): uint8 RGB. gt_boxes (n, 4): float32, continuous xyxy pixels. gt_labels (n,): int64 from 0.
    title: the text under the image, such as its file name.
    """

    image: npt.NDArray[np.uint8]
    gt_boxes: npt.NDArray[np.float32]
    gt_labels: npt.NDArray[np.int64]
    detections: Detections
    title: str = ""


def draw_detections(image: npt.NDArray[np.uint8], detections: Detections) -> Image.Image:
    """Return the image with all these detections drawn on it, each with its name and score, the best on top.

    image (H, W, 3): uint8 RGB; it is not changed.
    """
    return _draw(Image.fromarray(image), detections.boxes, detections.labels, _captions(detections))


def draw_objects(
    image: Image.Image, boxes: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], captions: Sequence[str]
) -> Image.Image:
    """Return the image with these objects drawn on it. boxes (n, 4): in its pixels. captions: the n texts at them."""
    return _draw(image, boxes, labels, captions)


def contact_sheet(
    rows: Sequence[Comparison], names: Sequence[str], *, threshold: float = 0.3, columns: int = 2, width: int = 1600
) -> Image.Image:
    """Return a sheet of images, each twice: the ground truth to the left, the detections to the right.

    names: the data set's class names, for the ground truth. threshold: least score of a detection that is drawn.
    columns: how many such pairs stand side by side (fewer if there are fewer images). width: of the whole sheet, in
    pixels.
    """
    columns = max(1, min(columns, len(rows)))
    gap = 12
    side = (width - gap * (columns + 1)) // columns
    pairs = [_pair(row, names, threshold, side) for row in rows]
    lines = [pairs[start : start + columns] for start in range(0, len(pairs), columns)]
    height = gap + sum(max(pair.height for pair in line) + gap for line in lines)
    sheet = Image.new("RGB", (width, height), _PAPER)
    top = gap
    for line in lines:
        for column, pair in enumerate(line):
            sheet.paste(pair, (gap + column * (side + gap), top))
        top += max(pair.height for pair in line) + gap
    return sheet


def _pair(row: Comparison, names: Sequence[str], threshold: float, width: int) -> Image.Image:
    """Return ground truth and detections side by side, with a line of text under each, `width` pixels in all."""
    font = _font(15)
    half, line = (width - 4) // 2, 22
    found = row.detections.above(threshold)
    # the image is scaled before anything is drawn, so that lines and text keep a size that can be read
    scale = half / row.image.shape[1]
    image = Image.fromarray(row.image).resize((half, max(1, round(row.image.shape[0] * scale))))
    truth = _draw(image, row.gt_boxes * scale, row.gt_labels, [names[label] for label in row.gt_labels])
    drawn = _draw(image, found.boxes * scale, found.labels, _captions(found))

    pair = Image.new("RGB", (width, image.height + line), _PAPER)
    pair.paste(truth, (0, 0))
    pair.paste(drawn, (width - half, 0))
    pen = ImageDraw.Draw(pair)
    title = f"{row.title}: " if row.title else ""
    for left, text in (
        (0, f"{title}truth, {len(row.gt_labels)}"),
        (width - half, f"detections, {len(found)} of score {threshold:.2f} or more"),
    ):
        pen.text((left + 2, image.height + 2), _shortened(text, font, half - 4), fill=_INK, font=font)
    return pair


def _captions(detections: Detections) -> list[str]:
    return [f"{name} {score:.2f}" for _, score, name in detections]


def _draw(
    image: Image.Image, boxes: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], captions: Sequence[str]
) -> Image.Image:
    """Return a copy with the boxes (n, 4) and their captions, the first on top; all text stays inside the image."""
    image = image.convert("RGB")
    width, height = image.size
    pen = ImageDraw.Draw(image)
    line = max(2, round(max(width, height) / 400))
    font = _font(min(28, max(11, max(width, height) / 45)))
    colours = [class_colour(int(label)) for label in labels]
    corners = [_inside(box, width, height) for box in boxes]
    for box, colour in reversed(list(zip(corners, colours))):
        pen.rectangle(box, outline=colour, width=line)
    texts = [_shortened(caption, font, width - 6) for caption in captions]
    places: list[_Box] = []
    for box, text in zip(corners, texts):
        size = (font.getlength(text) + 6, font.size + 4)
        places.append(_label_place(box, size, (width, height), places))
    for place, text, colour in reversed(list(zip(places, texts, colours))):
        pen.rectangle(place, fill=colour)
        middle = ((place[0] + place[2]) / 2, (place[1] + place[3]) / 2)
        pen.text(middle, text, fill=text_colour(colour), font=font, anchor="mm")
    return image


def _font(size: float) -> ImageFont.FreeTypeFont:
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


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """Return the text, cut to end in an ellipsis if it is wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
