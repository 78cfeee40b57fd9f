"""Pictures with boxes on them: one picture's detections, and sheets of them beside the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from paa.detections import Detections
from paa.report.palette import Colour, class_colour, text_colour

_Box = tuple[float, float, float, float]
_INK, _PAPER = (40, 40, 40), (255, 255, 255)


@dataclass(frozen=True)
class Comparison:
    """One picture of a contact sheet, with what is there and what was found.

    image (H, W, 3): uint8 RGB. gt_boxes (n, 4): float32, continuous xyxy pixels. gt_labels (n,): int64 from 0.
    title: what stands under the picture, such as its file name.
    """

    image: npt.NDArray[np.uint8]
    gt_boxes: npt.NDArray[np.float32]
    gt_labels: npt.NDArray[np.int64]
    detections: Detections
    title: str = ""


def draw_detections(image: npt.NDArray[np.uint8], detections: Detections, threshold: float = 0.3) -> Image.Image:
    """Return the picture with the detections of score >= `threshold` drawn on it, each with its name and score.

    image (H, W, 3): uint8 RGB; it is not changed. The best detections lie on top.
    """
    shown = detections.above(threshold)
    captions = [f"{name} {score:.2f}" for _, score, name in shown]
    return _draw(Image.fromarray(image), shown.boxes, shown.labels, captions)


def draw_truth(
    image: npt.NDArray[np.uint8],
    boxes: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    names: Sequence[str],
) -> Image.Image:
    """Return the picture with its ground truths drawn on it, each with its name. Shapes as in `Comparison`."""
    return _draw(Image.fromarray(image), boxes, labels, [names[label] for label in labels])


def contact_sheet(
    rows: Sequence[Comparison], names: Sequence[str], *, threshold: float = 0.3, columns: int = 2, width: int = 1600
) -> Image.Image:
    """Return a sheet of pictures, each twice: the truth to the left, the detections to the right.

    names: the data set's class names, by which the truth is labelled. columns: how many such pairs stand side by side
    (fewer if there are fewer pictures). width: of the whole sheet, in pixels.
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
    """Return truth and detections side by side, with a line of text under each, `width` pixels in all."""
    font = ImageFont.load_default(size=15)
    half, line = (width - 4) // 2, 22
    found = row.detections.above(threshold)
    # Scaled before anything is drawn: lines and text keep the size that can be read.
    scale = half / row.image.shape[1]
    picture = Image.fromarray(row.image).resize((half, max(1, round(row.image.shape[0] * scale))))
    truth = _draw(picture, row.gt_boxes * scale, row.gt_labels, [names[label] for label in row.gt_labels])
    captions = [f"{name} {score:.2f}" for _, score, name in found]
    drawn = _draw(picture, found.boxes * scale, found.labels, captions)

    pair = Image.new("RGB", (width, picture.height + line), _PAPER)
    pair.paste(truth, (0, 0))
    pair.paste(drawn, (width - half, 0))
    pen = ImageDraw.Draw(pair)
    title = f"{row.title}: " if row.title else ""
    for left, text in (
        (0, f"{title}truth, {len(row.gt_labels)}"),
        (width - half, f"detections, {len(found)} of score {threshold:.2f} or more"),
    ):
        pen.text((left + 2, picture.height + 2), _shortened(text, font, half - 4), fill=_INK, font=font)
    return pair


def _draw(
    image: Image.Image, boxes: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], captions: Sequence[str]
) -> Image.Image:
    """Return a copy with the boxes (n, 4) and their captions, the first on top; all text stays inside the picture."""
    image = image.convert("RGB")
    width, height = image.size
    pen = ImageDraw.Draw(image)
    line = max(1, round(max(width, height) / 400))
    font = ImageFont.load_default(size=min(28, max(10, max(width, height) / 55)))
    order = range(len(boxes) - 1, -1, -1)
    for i in order:
        x1, y1, x2, y2 = _inside(boxes[i], width, height)
        pen.rectangle((x1, y1, x2, y2), outline=class_colour(int(labels[i])), width=line)
    placed: list[_Box] = []
    for i in reversed(order):
        text = _shortened(captions[i], font, width - 4)
        place = _label_place(_inside(boxes[i], width, height), pen.textbbox((0, 0), text, font=font), image.size, placed)
        placed.append(place)
        _write(pen, text, place, font, class_colour(int(labels[i])))
    return image


def _write(
    pen: ImageDraw.ImageDraw, text: str, place: _Box, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, colour: Colour
) -> None:
    """Write the text on a ground of its colour."""
    pen.rectangle(place, fill=colour)
    pen.text(((place[0] + place[2]) / 2, (place[1] + place[3]) / 2), text, text_colour(colour), font, anchor="mm")
