"""One object's assignment as an image: its candidates to the left, the histogram of their scores to the right."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from paa.drawing.boxes import font_of, shortened
from paa.drawing.palette import Colour, class_colour
from paa.explanation.histogram import Histogram, histogram
from paa.explanation.objects import ObjectAssignment
from paa.explanation.window import Window, window_of

POSITIVE, NEGATIVE = class_colour(0), class_colour(4)
_INK, _SOFT, _LINE, _PAPER = (28, 32, 36), (91, 100, 112), (217, 221, 227), (255, 255, 255)
_WIDTH, _HEIGHT, _HEAD = 760, 330, 26
_FINER = 2  # drawn so much larger, then made smaller: Pillow's lines have hard edges


def level_colour(level: int) -> Colour:
    """Return the colour of a level of the pyramid, the same in every picture and page."""
    return class_colour((2, 0, 5, 1, 3, 6)[level % 6])


def marker_radius(level: int) -> float:
    """Return the radius of a candidate's mark, larger on coarser levels, where the image is 400 units wide."""
    return 3.4 + 0.6 * level


def draw_assignment(
    pixels: npt.NDArray[np.uint8],
    one: ObjectAssignment,
    title: str,
    window: Window | None = None,
    span: tuple[float, float] | None = None,
) -> Image.Image:
    """Return the picture of an object's assignment.

    pixels (h, w, 3): the image, which may be smaller or larger than the resized one of `one.size`. title: a line above.
    window: the part of the image to show, by default that of the object. span: the scores to show, as for `histogram`.
    """
    f = _FINER
    sheet = Image.new("RGB", (f * _WIDTH, f * _HEIGHT), _PAPER)
    pen = ImageDraw.Draw(sheet)
    font = font_of(13 * f)
    pen.text((8 * f, _HEAD * f / 2), shortened(title, font, f * (_WIDTH - 16)), fill=_INK, font=font, anchor="lm")
    room = f * (_WIDTH // 2 - 8), f * (_HEIGHT - _HEAD - 6)
    sheet.paste(_photo(pixels, one, window or window_of([one]), room), (f * 6, f * _HEAD))
    shown = histogram(one, span)
    if shown is None:
        pen.text((f * _WIDTH * 3 / 4, f * _HEIGHT / 2), "no candidates", fill=_SOFT, font=font, anchor="mm")
    else:
        _draw_histogram(pen, shown, one)
    return sheet.resize((_WIDTH, _HEIGHT), Image.Resampling.BOX)


def _photo(pixels: npt.NDArray[np.uint8], one: ObjectAssignment, window: Window, room: tuple[int, int]) -> Image.Image:
    """Return the part of the image with the object and its candidates, as large as there is room."""
    (height, width), (rows, columns) = one.size, pixels.shape[:2]
    scale = min(room[0] / window.width, room[1] / window.height)
    size = max(1, round(window.width * scale)), max(1, round(window.height * scale))
    source = np.array(window) * np.tile([columns / width, rows / height], 2)  # in the pixels given
    part = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, box=tuple(source.tolist()))
    pen = ImageDraw.Draw(part)
    unit, corner = room[0] / 400, np.tile(window[:2], 2)
    boxes, levels = (one.candidates.anchors - corner) * scale, one.candidates.levels.tolist()
    for box, level in reversed(list(zip(boxes[: one.positives].tolist(), levels))):
        pen.rectangle(box, outline=level_colour(level), width=round(1.2 * unit))
    outline = ((one.box - corner) * scale).tolist()
    pen.rectangle(outline, outline=(0, 0, 0), width=round(3.4 * unit))
    pen.rectangle(outline, outline=_PAPER, width=round(1.6 * unit))
    for i in reversed(range(len(levels))):
        x, y = (boxes[i, :2] + boxes[i, 2:]) / 2
        radius, colour = marker_radius(levels[i]) * unit, level_colour(levels[i])
        around = (x - radius, y - radius, x + radius, y + radius)
        if i < one.positives:
            pen.ellipse(around, fill=colour, outline=_PAPER, width=round(0.8 * unit))
        else:
            pen.ellipse(around, outline=colour, width=max(1, round(1.4 * unit)))
    return part


def _draw_histogram(pen: ImageDraw.ImageDraw, shown: Histogram, one: ObjectAssignment) -> None:
    """Draw bars, curves and the cut, and below them each candidate in the row of its level."""
    f, rows = _FINER, len(one.levels)
    left, right, top, bottom = (
        f * (_WIDTH // 2 + 30),
        f * (_WIDTH - 10),
        f * (_HEAD + 24),
        f * (_HEIGHT - 50 - 11 * rows),
    )
    small = font_of(10.5 * f)

    def x(score: float) -> float:
        return left + (right - left) * (score - shown.left) / (shown.right - shown.left)

    def y(count: float) -> float:
        return max(bottom + (top - bottom) * count / shown.top, top)

    for edge, following, good, bad in zip(shown.edges, shown.edges[1:], shown.positives, shown.negatives):
        for start, count, colour in ((0, good, POSITIVE), (good, bad, NEGATIVE)):
            if count:
                place = (x(edge) + f / 2, y(start + count), x(following) - f / 2, y(start))
                pen.rectangle(place, fill=_lighter(colour))
    for curve, colour in ((shown.low, POSITIVE), (shown.high, NEGATIVE)):
        pen.line([(x(a), y(b)) for a, b in zip(shown.x, curve)], fill=colour, width=round(1.8 * f), joint="curve")
    pen.line((left, bottom, right, bottom), fill=_LINE, width=f)
    for row, level in enumerate(one.levels):
        middle = bottom + f * (9 + 11 * row)
        pen.text((left - 6 * f, middle), level.name, fill=_SOFT, font=small, anchor="rm")
        for i in np.flatnonzero(one.candidates.levels == row).tolist():
            score = min(max(float(one.candidates.scores[i]), shown.edges[0]), shown.edges[-1])
            around = (x(score) - 3 * f, middle - 3 * f, x(score) + 3 * f, middle + 3 * f)
            if i < one.positives:
                pen.ellipse(around, fill=level_colour(row))
            else:
                pen.ellipse(around, outline=level_colour(row), width=f)
    if shown.cut is not None and shown.left <= shown.cut <= shown.right:
        for start in range(int(top), int(bottom + f * (6 + 11 * rows)), 8 * f):
            pen.line((x(shown.cut), start, x(shown.cut), start + 4 * f), fill=_INK, width=f)
    for score in shown.ticks:
        pen.text((x(score), bottom + f * (14 + 11 * rows)), f"{score:.2f}", fill=_SOFT, font=small, anchor="mm")
    place_of_name = (left + right) / 2, bottom + f * (30 + 11 * rows)
    pen.text(place_of_name, "score of a candidate: its loss as a positive", fill=_SOFT, font=small, anchor="mm")
    counts = (f"{one.positives} positives", POSITIVE), (f"{len(one.candidates) - one.positives} negatives", NEGATIVE)
    for i, (text, colour) in enumerate(counts):
        start = left + f * 95 * i
        pen.rectangle((start, f * (_HEAD + 4), start + 9 * f, f * (_HEAD + 13)), fill=colour)
        pen.text((start + 13 * f, f * (_HEAD + 9)), text, fill=_INK, font=small, anchor="lm")


def _lighter(colour: Colour) -> Colour:
    red, green, blue = (round(0.5 * channel + 127) for channel in colour)
    return red, green, blue
