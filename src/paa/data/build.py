"""From what a reader found in the files to a checked index."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from paa.data.files.folders import some
from paa.data.images.read import read_size, wrong_size
from paa.data.index import DatasetIndex
from paa.data.read_report import ReadReport
from paa.errors import DataError, ImageError, one_line

_SMALLEST_SIDE = 1e-3
_LARGEST_AREA = 1e15  # square pixels; a larger one is no area
_MANY = 0.1  # the share of boxes from which on what they have in common is taken for a mistake of the whole file
_HEADERS = 2000  # images whose headers are read to check a size that the annotations give: half a second

_MARKS = (  # UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Found:
    """A split as its files have it: I images and A boxes, unchecked.

    file_names: relative to root, or absolute. sizes (I, 2): (height, width), 0 where the files do not say.
    images (A,): each box's image, as a position. boxes (A, 4): float64 continuous xyxy, in pixels, or with `normalised`
    in fractions of the image's size. labels (A,). crowd (A,): bool. areas (A,): NaN for the box's own.
    describe: an annotation's name in a message.
    """

    root: Path
    file_names: Sequence[str]
    image_ids: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int32]
    images: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    crowd: npt.NDArray[np.bool_]
    areas: npt.NDArray[np.float64]
    describe: Callable[[int], str]
    normalised: bool = False


@dataclass(frozen=True)
class Classes:
    """A data set's classes: `mapping` turns a label of the files into the position of its name in `names`.

    A class of the files that is left out is mapped to -1.
    """

    names: tuple[str, ...]
    category_ids: npt.NDArray[np.int64]
    mapping: npt.NDArray[np.int64]


def read_text(file: Path) -> str:
    """Return the text of a file in UTF-8, or in what its byte order mark says (UTF-16, UTF-32). Raises DataError."""
    try:
        return decode_text(file.read_bytes())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read as text: {one_line(error)}") from error


def decode_text(content: bytes) -> str:
    """Return UTF-8, or what a byte order mark says, as text, lines ending in a newline; UTF-16 also without a mark.

    Raises UnicodeDecodeError, also for zero bytes: what has them is no text.
    """
    bare = {b"\0": "utf-16-be"}.get(content[:1], "utf-16-le" if content[1:2] == b"\0" else "utf-8")
    text = content.decode(marked_encoding(content) or bare)
    if "\0" in text:
        raise UnicodeDecodeError(bare, content, content.index(b"\0"), content.index(b"\0") + 1, "a zero byte")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def marked_encoding(content: bytes) -> str | None:
    """Return the encoding that the byte order mark at the beginning stands for, None without one."""
    return next((name for mark, name in _MARKS if content.startswith(mark)), None)


def match_classes(
    source: Path, own: Sequence[str], own_ids: Sequence[int], names: Sequence[str] | None, report: ReadReport
) -> Classes:
    """Return the classes of the files (names and ids by label), in the order of `names` where that is given.

    A class of `names` that the files lack gets an id no class of theirs has; one of the files that `names` lacks is
    left out. Raises DataError for one name given twice.
    """
    if len(set(own)) < len(own):
        twice = next(name for name in own if list(own).count(name) > 1)
        raise DataError(f"{source}: two classes are named {twice!r}")
    _warn_of_names(source, own, report)
    if names is None:
        return Classes(tuple(own), np.asarray(own_ids, np.int64), np.arange(len(own)))
    label_of = {name: label for label, name in enumerate(names)}
    for name in own:
        if name not in label_of:
            report.leave_out(f"{source}: class {name!r} is unknown to the model, which knows {some(names)}", DataError)
    mapping = np.array([label_of.get(name, -1) for name in own], np.int64)
    category_ids = _new_ids(own_ids, len(names))
    category_ids[mapping[mapping >= 0]] = np.asarray(own_ids, np.int64)[mapping >= 0]
    return Classes(tuple(names), category_ids, mapping)


def _new_ids(own_ids: Sequence[int], count: int) -> npt.NDArray[np.int64]:
    """Return ids (count,) that no class has: above all others, or those left free where int64 ends."""
    first = max(own_ids, default=0) + 1
    above = range(first, first + count)
    if above and above[-1] <= np.iinfo(np.int64).max:
        return np.array(above, np.int64)
    taken = set(own_ids)
    return np.array([i for i in range(len(taken) + count) if i not in taken][:count], np.int64)


def _warn_of_names(source: Path, own: Sequence[str], report: ReadReport) -> None:
    by_folded: dict[str, str] = {}
    for name in own:
        other = by_folded.setdefault(" ".join(name.casefold().split()), name)
        if other != name:
            how = "capitals" if other.casefold() == name.casefold() else "blanks"
            report.warn(f"{source}: the classes {other!r} and {name!r} differ in {how} only; are they the same?")


def image_sizes(
    files: Sequence[Path], expected: npt.NDArray[np.int32], report: ReadReport
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """Return the sizes (I, 2) of images from their headers, and which of them (I,) are usable.

    expected (I, 2): (height, width) by the annotations, 0 where they do not say; an image of another size is left out,
    as is one whose header cannot be read. Of a large data set only the headers of unknown size are read.
    """
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


def build_index(source: Path, found: Found, classes: Classes, report: ReadReport, keep_empty: bool) -> DatasetIndex:
    """Return the index of a split: boxes checked, clipped to their images and sorted by image.

    source: the file or folder that messages name. keep_empty: keep images without a box to train on. A box with NaN or
    a negative side is left out; one without area inside its image is dropped, with a warning that counts them; what
    looks wrong in many boxes is a warning too. Raises DataError if no image is left.
    """
    files = [found.root / name for name in found.file_names]
    sizes, usable = image_sizes(files, found.sizes, report)
    height, width = sizes[found.images].T
    limits = np.stack([width, height, width, height], axis=1)
    pixels = found.boxes * limits if found.normalised else found.boxes
    valid: npt.NDArray[np.bool_] = _check(source, found, pixels, report) & usable[found.images]
    labels = classes.mapping[found.labels] if len(found.labels) else found.labels
    valid &= labels >= 0
    boxes = np.clip(pixels, 0, limits).astype(np.float32)
    sides = boxes[:, 2:] - boxes[:, :2]
    kept = valid & (sides >= _SMALLEST_SIDE).all(1)
    _warn_of_boxes(source, found, pixels, limits, valid, kept, report)

    rows = np.flatnonzero(kept)
    rows = rows[np.argsort(found.images[rows], kind="stable")]
    counts = np.bincount(found.images[rows], minlength=len(found.image_ids))
    areas = np.where((found.areas >= 0) & (found.areas <= _LARGEST_AREA), found.areas, sides.prod(1))
    index = DatasetIndex(
        root=found.root,
        file_names=np.array([name.encode("utf-8", "surrogateescape") for name in found.file_names], np.bytes_),
        image_ids=found.image_ids,
        sizes=sizes,
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes=boxes[rows],
        labels=labels[rows],
        crowd=found.crowd[rows],
        areas=areas[rows].astype(np.float32),
        names=classes.names,
        category_ids=classes.category_ids,
    )
    if not usable.all():
        index = index.select(np.flatnonzero(usable))
    unused = [name for label, name in enumerate(index.names) if not (index.labels == label).any()]
    if unused and len(index.labels):
        report.warn(f"{source}: no object of class {some(unused)}")
    if not keep_empty:
        images = np.repeat(np.arange(len(index)), np.diff(index.offsets))
        targets = np.bincount(images[~index.crowd], minlength=len(index))
        index = index.select(np.flatnonzero(targets))
    if len(index) == 0:
        raise DataError(f"{source}: no images" + ("" if keep_empty else " with objects"))
    return index


def _check(source: Path, found: Found, pixels: npt.NDArray[np.float64], report: ReadReport) -> npt.NDArray[np.bool_]:
    """Return which boxes (A,) have finite corners and no negative side."""
    with np.errstate(invalid="ignore"):  # of infinite corners
        sides = pixels[:, 2:] - pixels[:, :2]
    valid = np.asarray(np.isfinite(pixels).all(axis=1) & (sides >= 0).all(axis=1))
    for row in np.flatnonzero(~valid):
        x1, y1 = pixels[row, :2]
        values = {"x": x1, "y": y1, "width": sides[row, 0], "height": sides[row, 1]}
        bad = {k: v for k, v in values.items() if not np.isfinite(v) or (k in ("width", "height") and v < 0)}
        name, value = next(iter(bad.items()))
        report.leave_out(f"{source}: {found.describe(int(row))} has {name} {value:g}")
    return valid


def _warn_of_boxes(
    source: Path,
    found: Found,
    pixels: npt.NDArray[np.float64],
    limits: npt.NDArray[np.int32],
    valid: npt.NDArray[np.bool_],
    kept: npt.NDArray[np.bool_],
    report: ReadReport,
) -> None:
    """Warn of valid boxes (A,) that were not kept, leave their image, are below a pixel, or are there twice."""
    count = int(valid.sum())
    if dropped := count - int(kept.sum()):
        report.warn(f"{source}: dropped {dropped} boxes that have no area inside their image")
    boxes, limits = pixels[valid], limits[valid]
    outside = int(((boxes < -1) | (boxes > limits + 1)).any(axis=1).sum())
    if outside:
        hint = "; are they corners, and not x, y, width and height?" if outside > _MANY * count else ""
        report.warn(f"{source}: {outside} of {count} boxes leave their image by more than a pixel{hint}")
    small = int(((boxes[:, 2:] - boxes[:, :2]) < 1).any(axis=1).sum())
    if small:
        hint = "; are they fractions of the image's size, and not pixels?" if small > _MANY * count else ""
        report.warn(f"{source}: {small} of {count} boxes have a side below one pixel{hint}")
    twice = _repeated(found.images[kept], found.labels[kept], found.boxes[kept])
    if len(twice):
        row = int(np.flatnonzero(kept)[twice[0]])
        report.warn(f"{source}: {len(twice)} boxes stand in the file more than once; one is {found.describe(row)}")


def _repeated(
    images: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], boxes: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Return the rows (n,) of boxes that stand before them already, in the same image and class."""
    columns = np.column_stack([images, labels, boxes + 0.0]).view(np.int64)  # + 0.0: -0 is 0
    with np.errstate(over="ignore"):
        keys = (columns * np.array([3, 5, 7, 11, 13, 17]) * 0x9E3779B97F4A7C1).sum(axis=1)
    order = np.argsort(keys, kind="stable")
    near = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    same = (columns[order[near + 1]] == columns[order[near]]).all(axis=1)
    return np.sort(order[near[same] + 1])
