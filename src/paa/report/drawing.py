"""Sheets of images with ground truth and detections side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from paa.detections import Detections
from paa.drawing.boxes import draw_objects, font_of, shortened

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
    """Return ground truth and detections side by side, with a line of text under each, `width` pixels in all.

    Where an image is more than three times as high as wide, it is narrower than its half.
    """
    font = font_of(15)
    half, line = (width - 4) // 2, 22
    found = row.detections.above(threshold)
    # the image is scaled before anything is drawn, so that lines and text keep a size that can be read
    image_height, image_width = row.image.shape[:2]
    scale = min(half / image_width, 3 * half / image_height)
    image = Image.fromarray(row.image).resize((max(1, round(image_width * scale)), max(1, round(image_height * scale))))
    truth = draw_objects(image, row.gt_boxes * scale, row.gt_labels, [names[label] for label in row.gt_labels])
    drawn = draw_objects(image, found.boxes * scale, found.labels, found.captions())

    pair = Image.new("RGB", (width, image.height + line), _PAPER)
    pair.paste(truth, (0, 0))
    pair.paste(drawn, (width - half, 0))
    pen = ImageDraw.Draw(pair)
    title = f"{row.title}: " if row.title else ""
    for left, text in (
        (0, f"{title}truth, {len(row.gt_labels)}"),
        (width - half, f"detections, {len(found)} of score {threshold:.2f} or more"),
    ):
        pen.text((left + 2, image.height + 2), shortened(text, font, half - 4), fill=_INK, font=font)
    return pair
