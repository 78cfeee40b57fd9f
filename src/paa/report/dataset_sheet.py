"""Sheets of a data set's images with their objects drawn on them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from paa.data.images.read import read_image
from paa.data.index import DatasetIndex
from paa.data.read_report import counted
from paa.drawing.boxes import draw_objects
from paa.errors import ImageError

log = logging.getLogger("paa")

_GAP, _LINE = 10, 24  # pixels between images, and of the line of text under each
_INK, _PAPER = (40, 40, 40), (255, 255, 255)
_TEXT = 15


@dataclass(frozen=True)
class Item:
    """An image of a sheet: its place in a data set, and which of the data set's objects are drawn (A,).

    split: the name in its title.
    """

    split: str
    index: DatasetIndex
    image: int
    objects: npt.NDArray[np.bool_]


def object_sheet(
    items: Sequence[Item], columns: int = 4, width: int = 1600, skip_bad: bool = False
) -> Image.Image | None:
    """Return a sheet of images with their boxes and classes, side by side, each with a line that names it.

    A crowd is marked by "(crowd)". width: of the whole sheet, in pixels. Raises ImageError for an image that cannot be
    decoded; with skip_bad it is left out, with a warning, and no sheet is returned where no image is left.
    """
    columns = max(1, min(columns, len(items)))
    side = (width - _GAP * (columns + 1)) // columns
    cells = []
    for item in items:
        try:
            cells.append(_cell(item, side))
        except ImageError as error:
            if not skip_bad:
                raise
            log.warning(f"left out: {error}")
    if not cells:
        return None
    lines = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    heights = [max(cell.height for cell in line) for line in lines]
    sheet = Image.new("RGB", (width, _GAP + sum(heights) + _GAP * len(lines)), _PAPER)
    top = _GAP
    for line, height in zip(lines, heights):
        for column, cell in enumerate(line):
            sheet.paste(cell, (_GAP + column * (side + _GAP), top))
        top += height + _GAP
    return sheet


def _cell(item: Item, side: int) -> Image.Image:
    """Return an image in a square of this many pixels a side, no larger than twice its own size, and its title."""
    index, i = item.index, item.image
    height, width = index.sizes[i].tolist()
    scale = min(side / max(height, width), 2.0)
    pixels = read_image(index.path(i), (height, width))
    # scaled before anything is drawn, so that lines and text keep a size that can be read
    image = Image.fromarray(pixels).resize((max(1, round(width * scale)), max(1, round(height * scale))))
    rows = np.flatnonzero(item.objects[index.offsets[i] : index.offsets[i + 1]]) + index.offsets[i]
    captions = [index.names[index.labels[row]] + (" (crowd)" if index.crowd[row] else "") for row in rows]
    drawn = draw_objects(image, index.boxes[rows] * np.float32(scale), index.labels[rows], captions)
    cell = Image.new("RGB", (side, drawn.height + _LINE), _PAPER)
    cell.paste(drawn, (0, 0))
    title = f"{item.split}: {index.path(i).name}, {width} x {height}, {counted(len(rows), 'object')}"
    font = ImageFont.load_default(size=_TEXT)
    text = title.encode("utf-8", "backslashreplace").decode()
    while font.getlength(text) > side and len(text) > 1:
        text = text[:-2] + "…"
    ImageDraw.Draw(cell).text((2, drawn.height + 3), text, fill=_INK, font=font)
    return cell
