"""The images of a report: small JPEGs as data URIs, and the boxes that are drawn on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from paa.data.images.read import read_image
from paa.data.index import DatasetIndex
from paa.errors import ImageError
from paa.evaluation.analysis import Analysis
from paa.evaluation.image_scores import ImageScore
from paa.evaluation.label_errors import LabelError
from paa.evaluation.unseen import Unseen
from paa.report.html.jpeg import data_uri
from paa.report.image_names import file_name

_SIDE, _BYTES = 640, 30_000
_CROP_SIDE, _CROP_BYTES = 240, 8_000
_CONTEXT = 0.6  # of a box's longer side, shown around it

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Box:
    """A box of a drawing, in its pixels. kind: "right", "wrong" or "ignored", which decides its style."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    text: str


@dataclass(frozen=True)
class Photo:
    """An image, as large as its original, with what was annotated and what was found.

    jpeg: a data URI of fewer pixels. caption: what is remarkable; name: of its file.
    """

    name: str
    caption: str
    jpeg: str
    width: int
    height: int
    truth: list[Box]
    found: list[Box]


def photo(analysis: Analysis, score: ImageScore) -> Photo | None:
    """Return an image with the verdict on each object and each detection; None if it cannot be read."""
    chosen, i = analysis.chosen, score.image
    index, table = chosen.index, chosen.table
    pixels = _read(index, i)
    if pixels is None:
        return None
    rows = np.arange(index.offsets[i], index.offsets[i + 1])
    objects = chosen.found(0.5)[rows]
    truth = [
        _box(index.boxes[row], int(verdict), index.names[index.labels[row]]) for row, verdict in zip(rows, objects)
    ]
    own = np.flatnonzero(table.image == i)
    own = own[np.argsort(table.scores[own], kind="stable")]  # the best on top
    found = [
        _box(table.boxes[row], int(verdict), f"{index.names[table.labels[row]]} {table.scores[row]:.2f}")
        for row, verdict in zip(own, chosen.verdicts(0.5)[own])
    ]
    caption = f"{score.right} right, {score.wrong} wrong, {score.missed} missed"
    height, width = pixels.shape[:2]
    return Photo(file_name(index, i), caption, data_uri(pixels, _SIDE, _BYTES), width, height, truth, found)


def crop(analysis: Analysis, error: LabelError) -> Photo | None:
    """Return the part of an image around a likely error of its annotations; None if it cannot be read."""
    names = analysis.chosen.index.names
    annotated = "nothing" if error.annotated is None else names[error.annotated[0]]
    caption = f"annotated: {annotated}; found: {names[error.label]}, score {error.score:.2f}"
    found = [(error.box, f"{names[error.label]} {error.score:.2f}")]
    return _part(analysis, error.image, error.box, found, caption)


def unseen_crop(analysis: Analysis, one: Unseen) -> Photo | None:
    """Return the part of an image around an object that the detector does not see; None if it cannot be read."""
    index = analysis.chosen.index
    found = "nothing" if one.found is None else f"{index.names[one.found[0]]}, IoU {one.overlap:.2f}"
    caption = f"annotated: {index.names[index.labels[one.row]]}; found: {found}"
    return _part(analysis, one.image, index.boxes[one.row], [], caption, one.row)


def _part(
    analysis: Analysis,
    image: int,
    around: Floats,
    detections: list[tuple[Floats, str]],
    caption: str,
    missed: int | None = None,
) -> Photo | None:
    """Return the part of an image around a box (4,), with its annotations, and these detections beside.

    missed: the row of the object that the part is about; None where a detection is.
    """
    index = analysis.chosen.index
    pixels = _read(index, image)
    if pixels is None:
        return None
    height, width = pixels.shape[:2]
    margin = _CONTEXT * max(around[2] - around[0], around[3] - around[1], 16)
    left, top = (max(0, int(value - margin)) for value in around[:2])
    right, bottom = min(width, int(around[2] + margin) + 1), min(height, int(around[3] + margin) + 1)
    if right <= left or bottom <= top:
        return None
    shift = np.array([left, top, left, top], np.float32)
    rows = np.arange(index.offsets[image], index.offsets[image + 1])
    truth = []
    for row in rows:
        box = index.boxes[row] - shift
        if (box[:2] < [right - left, bottom - top]).all() and (box[2:] > 0).all():
            inside = (box[:2] >= 0).all()  # the text of others would only be in the way
            named = inside if missed is None else row == missed
            truth.append(_box(box, int(row != missed), index.names[index.labels[row]] if named else ""))
    found = [_box(box - shift, 0, text) for box, text in detections]
    return Photo(
        file_name(index, image),
        caption,
        data_uri(pixels[top:bottom, left:right], _CROP_SIDE, _CROP_BYTES),
        right - left,
        bottom - top,
        truth,
        found,
    )


def _read(index: DatasetIndex, i: int) -> npt.NDArray[np.uint8] | None:
    try:
        return read_image(index.path(i), (int(index.sizes[i, 0]), int(index.sizes[i, 1])))
    except ImageError:
        return None  # results can be evaluated without the images


def _box(box: npt.NDArray[np.float32], verdict: int, text: str) -> Box:
    x1, y1, x2, y2 = (round(float(value), 1) for value in box)
    kind = {1: "right", 0: "wrong"}.get(verdict, "ignored")
    return Box(x1, y1, round(x2 - x1, 1), round(y2 - y1, 1), kind, text)
