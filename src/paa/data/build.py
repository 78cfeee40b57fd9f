"""Building a checked index from what a format's reader found in the files: the last step of every reader."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from paa.data.classes import Classes
from paa.data.images.read import read_size, wrong_size
from paa.data.index import DatasetIndex
from paa.data.read_report import ReadReport, first_few
from paa.errors import DataError, ImageError

_SMALLEST_SIDE = 1e-3  # pixels
_LARGEST_AREA = 1e15  # square pixels; a larger value cannot be an area
_ROUNDED = 0.01  # pixels by which a side of one pixel may be smaller, in a format that rounds fractions of an image
_MANY = 0.1  # share of the boxes above which a fault is taken for a mistake in the whole file
_HEADERS = 2000  # images; in data sets up to this size, all headers are read to check the given sizes: half a second


@dataclass(frozen=True)
class RawSplit:
    """The content of a split's files, unchecked: I images and A boxes.

    source: the file or folder that messages name. root: the folder that file_names are relative to, unless absolute.
    image_ids (I,): None where the files give none. sizes (I, 2): (height, width), 0 where they give none. images (A,):
    the position of each box's image. boxes (A, 4): continuous xyxy in pixels, or with `normalised` in fractions of the
    image's size. labels (A,): the files' own, which `classes.mapping` translates. crowd (A,): crowd or difficult. areas
    (A,): NaN where the box's own area is to be used. describe: returns a name for the annotation of a row, for
    messages.
    """

    source: Path
    root: Path
    classes: Classes
    file_names: Sequence[str]
    image_ids: npt.NDArray[np.int64] | None
    sizes: npt.NDArray[np.int32]
    images: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    crowd: npt.NDArray[np.bool_]
    areas: npt.NDArray[np.float64]
    describe: Callable[[int], str]
    normalised: bool = False


def build_index(raw: RawSplit, keep_empty: bool, report: ReadReport) -> DatasetIndex:
    """Return the index of a split: boxes checked, clipped to their images and sorted by image.

    keep_empty: keep images without a box to train on. A box with NaN or a negative side is left out; boxes without area
    inside their image are dropped, with a warning that counts them; a fault of many boxes is a warning too.
    Raises DataError if no image is left.
    """
    sizes, usable = _image_sizes(raw, report)
    height, width = sizes[raw.images].T
    limits = np.stack([width, height, width, height], axis=1)
    pixels = raw.boxes * limits if raw.normalised else raw.boxes
    labels = raw.classes.mapping[raw.labels] if len(raw.labels) else raw.labels
    valid = _finite_boxes(raw, pixels, report) & usable[raw.images] & (labels >= 0)
    boxes = np.clip(pixels, 0, limits).astype(np.float32)
    sides = boxes[:, 2:] - boxes[:, :2]
    kept = valid & (sides >= _SMALLEST_SIDE).all(1)
    _warn_of_positions(raw, pixels, limits, valid, kept, report)
    _warn_of_repeated(raw, kept, report)

    rows = np.flatnonzero(kept)
    rows = rows[np.argsort(raw.images[rows], kind="stable")]
    counts = np.bincount(raw.images[rows], minlength=len(raw.file_names))
    areas = np.where((raw.areas >= 0) & (raw.areas <= _LARGEST_AREA), raw.areas, sides.prod(1))
    index = DatasetIndex(
        root=raw.root,
        file_names=np.array([name.encode("utf-8", "surrogateescape") for name in raw.file_names], np.bytes_),
        image_ids=np.arange(1, len(raw.file_names) + 1) if raw.image_ids is None else raw.image_ids,
        sizes=sizes,
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes=boxes[rows],
        labels=labels[rows],
        crowd=raw.crowd[rows],
        areas=areas[rows].astype(np.float32),
        names=raw.classes.names,
        category_ids=raw.classes.category_ids,
        ids_are_places=raw.image_ids is None,
    )
    return _select_images(raw.source, index, usable, keep_empty, report)


def _image_sizes(raw: RawSplit, report: ReadReport) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """Return the sizes (I, 2) of images from their headers, and which images (I,) are usable.

    An image whose size differs from that in its annotations is left out, as is an image whose header cannot be read. In
    a large data set only the headers of images without a given size are read.
    """
    expected = raw.sizes
    files = [raw.root / name for name in raw.file_names]
    sizes, usable = expected.copy(), np.ones(len(files), np.bool_)
    unknown = np.asarray((expected < 1).any(axis=1))
    for i in range(len(files)) if len(files) <= _HEADERS else np.flatnonzero(unknown).tolist():
        try:
            sizes[i] = read_size(files[i])
        except ImageError as error:
            usable[i] = False
            report.leave_out(str(error), ImageError)
            continue
        if not unknown[i] and tuple(sizes[i]) != tuple(expected[i]):
            usable[i] = False
            own, said = ((int(height), int(width)) for height, width in (sizes[i], expected[i]))
            report.leave_out(wrong_size(files[i], own, said), ImageError)
    return sizes, usable


def _finite_boxes(raw: RawSplit, pixels: npt.NDArray[np.float64], report: ReadReport) -> npt.NDArray[np.bool_]:
    """Return which boxes (A,) have finite corners and no negative side; the others are left out."""
    with np.errstate(invalid="ignore"):  # infinite corners
        sides = pixels[:, 2:] - pixels[:, :2]
    valid = np.asarray(np.isfinite(pixels).all(axis=1) & (sides >= 0).all(axis=1))
    for row in np.flatnonzero(~valid):
        x1, y1 = pixels[row, :2]
        values = {"x": x1, "y": y1, "width": sides[row, 0], "height": sides[row, 1]}
        bad = {k: v for k, v in values.items() if not np.isfinite(v) or (k in ("width", "height") and v < 0)}
        name, value = next(iter(bad.items()))
        report.leave_out(f"{raw.source}: {raw.describe(int(row))} has {name} {value:g}")
    return valid


def _select_images(
    source: Path, index: DatasetIndex, usable: npt.NDArray[np.bool_], keep_empty: bool, report: ReadReport
) -> DatasetIndex:
    """Return the index with the usable images only, and unless `keep_empty` those with a box to train on."""
    if not usable.all():
        index = index.select(np.flatnonzero(usable))
    unused = [name for label, name in enumerate(index.names) if not (index.labels == label).any()]
    if unused and len(index.labels):
        report.warn(f"{source}: no object of class {first_few(unused)}")
    if not keep_empty:
        index = index.with_objects()
    if len(index) == 0:
        raise DataError(f"{source}: no images" + ("" if keep_empty else " with objects"))
    return index


def _warn_of_positions(
    raw: RawSplit,
    pixels: npt.NDArray[np.float64],
    limits: npt.NDArray[np.int32],
    valid: npt.NDArray[np.bool_],
    kept: npt.NDArray[np.bool_],
    report: ReadReport,
) -> None:
    """Warn of boxes that were dropped, that leave their image, or that have a side below one pixel.

    pixels (A, 4): xyxy pixels. limits (A, 4): the size of each box's image as (width, height, width, height). valid,
    kept (A,): the boxes that count, and those of them that were not dropped.
    """
    source, count = raw.source, int(valid.sum())
    pixels = np.where(valid[:, None], pixels, 0)  # the others may be infinite
    dropped, rest = valid & ~kept, valid & (kept | ~np.bool_(report.detailed))  # in detail, a box is named once
    if dropped.any():
        report.warn(
            f"{source}: dropped {dropped.sum()} boxes that have no area inside their image",
            lambda: _each(raw, pixels, limits, dropped, "has no area inside its image"),
        )
    outside = rest & ((pixels < -1) | (pixels > limits + 1)).any(axis=1)
    if outside.any():
        hint = "; are they corners, and not x, y, width and height?" if outside.sum() > _MANY * count else ""
        beyond = f"{outside.sum()} of {count} boxes leave their image by more than a pixel"
        report.warn(
            f"{source}: {beyond} and are cut there{hint}",
            lambda: _each(raw, pixels, limits, outside, f"leaves its image by more than a pixel{hint}"),
        )
    small = rest & ((pixels[:, 2:] - pixels[:, :2]) < 1 - _ROUNDED).any(axis=1)
    if small.any():
        hint = "; are they fractions of the image's size, and not pixels?" if small.sum() > _MANY * count else ""
        report.warn(
            f"{source}: {small.sum()} of {count} boxes have a side below one pixel{hint}",
            lambda: _each(raw, pixels, limits, small, f"has a side below one pixel{hint}"),
        )


def _each(
    raw: RawSplit,
    pixels: npt.NDArray[np.float64],
    limits: npt.NDArray[np.int32],
    rows: npt.NDArray[np.bool_],
    fault: str,
) -> Iterator[str]:
    """Yield a line for each of these rows: file, annotation, fault, and the box with its image."""
    for row in np.flatnonzero(rows).tolist():
        corners = ", ".join(f"{side:g}" for side in pixels[row])
        width, height = limits[row, :2]
        where = f"({corners}) in {raw.file_names[raw.images[row]]}, {width} wide and {height} high"
        yield f"{raw.source}: {raw.describe(row)} {fault}: {where}"


def _warn_of_repeated(raw: RawSplit, kept: npt.NDArray[np.bool_], report: ReadReport) -> None:
    repeated = np.flatnonzero(kept)[_repeated(raw.images[kept], raw.labels[kept], raw.boxes[kept])].tolist()
    if repeated:
        report.warn(
            f"{raw.source}: {len(repeated)} boxes are in the file more than once, for example "
            f"{raw.describe(repeated[0])}",
            lambda: (f"{raw.source}: {raw.describe(row)} repeats the box and class of another" for row in repeated),
        )


def _repeated(
    images: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], boxes: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Return the rows (n,) that repeat an earlier row: the same box, image and class.

    Only rows of equal hashes are compared, which takes half the time of `numpy.unique`.
    """
    columns = np.column_stack([images, labels, boxes + 0.0]).view(np.int64)  # + 0.0: -0 is 0
    with np.errstate(over="ignore"):
        keys = (columns * np.array([3, 5, 7, 11, 13, 17]) * 0x9E3779B97F4A7C1).sum(axis=1)
    order = np.argsort(keys, kind="stable")
    near = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    same = (columns[order[near + 1]] == columns[order[near]]).all(axis=1)
    return np.sort(order[near[same] + 1])
