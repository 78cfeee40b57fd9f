"""The boxes of masks as COCO writes them: polygons, or run lengths down the columns of the image.

Run lengths are read here, and not by a library: hotcoco and pycocotools take lengths that do not add up to the image,
and text that ends in the middle of a number, without an error.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Xywh = tuple[float, float, float, float]


def mask_box(segmentation: Any, size: tuple[int, int]) -> Xywh | None:
    """Return the box (x, y, width, height) in pixels around a mask, None if the mask is empty.

    segmentation: a list of polygons [x1, y1, x2, y2, ...], or {"size": [height, width], "counts": list or text}.
    size: (height, width) of the image, 0 where it is unknown. Raises ValueError, with what is wrong.
    """
    if segmentation is None:
        return None
    if isinstance(segmentation, list):
        return _polygon_box(segmentation)
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= segmentation.keys():
        raise ValueError("a segmentation that is neither polygons nor run lengths")
    height, width = _own_size(segmentation["size"])
    if min(size) > 0 and (height, width) != size:
        raise ValueError(f"a mask {height} high and {width} wide, but its image is {size[0]} high and {size[1]} wide")
    counts = segmentation["counts"]
    runs = _counts_from_text(counts) if isinstance(counts, str) else _counts_from_list(counts)
    if runs.sum() != height * width or (runs < 0).any():
        raise ValueError(f"run lengths that do not add up to {height} x {width} pixels")
    return _runs_box(runs, height)


def _polygon_box(polygons: list[Any]) -> Xywh | None:
    if polygons and not isinstance(polygons[0], list):  # one polygon without the list around it
        polygons = [polygons]
    try:
        rings = [np.array(polygon, np.float64) for polygon in polygons if polygon != []]
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError("a polygon that is not numbers") from error
    if not rings:
        return None
    if any(ring.ndim != 1 or len(ring) % 2 or len(ring) < 4 or not np.isfinite(ring).all() for ring in rings):
        raise ValueError("a polygon that is not pairs of finite numbers")
    points = np.concatenate(rings).reshape(-1, 2)
    x, y = points.min(0).tolist()
    right, bottom = points.max(0).tolist()
    return (x, y, right - x, bottom - y)


def _own_size(size: Any) -> tuple[int, int]:
    if not (isinstance(size, list) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)):
        raise ValueError("a mask without size [height, width]")
    return size[0], size[1]


def _counts_from_list(counts: Any) -> npt.NDArray[np.int64]:
    if not isinstance(counts, list) or not all(type(count) is int and 0 <= count < 1 << 40 for count in counts):
        raise ValueError("run lengths that are not whole numbers")
    return np.array(counts, np.int64)


def _counts_from_text(text: str) -> npt.NDArray[np.int64]:
    """Return the run lengths that a text stands for.

    Each character is six bits: five bits of a number, lowest first, and one that says whether more of the number
    follow. From the fourth run on, the numbers are differences from the run two before.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 60:
            raise ValueError("run lengths in an unknown encoding")
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        if not 0 <= counts[-1] < 1 << 40:
            raise ValueError("run lengths in an unknown encoding")
        value = shift = 0
    if shift:
        raise ValueError("run lengths that end in the middle of a number")
    return np.array(counts, np.int64)


def _runs_box(runs: npt.NDArray[np.int64], height: int) -> Xywh | None:
    """Return the box around the pixels of the mask: every second run, from the second on."""
    ends = np.cumsum(runs)
    starts = ends - runs
    inside = (np.arange(len(runs)) % 2 == 1) & (runs > 0)
    if not inside.any():
        return None
    first, last = starts[inside], ends[inside] - 1
    left, right = int(first.min()) // height, int(last.max()) // height + 1
    across = first // height != last // height  # a run over two columns touches the bottom of one, the top of the next
    top = 0 if across.any() else int((first % height).min())
    bottom = height if across.any() else int((last % height).max()) + 1
    return (float(left), float(top), float(right - left), float(bottom - top))
