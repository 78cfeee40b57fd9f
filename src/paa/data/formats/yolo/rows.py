"""The rows of YOLO label files: a class and a box, a box with keypoints, or a polygon."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from paa.data.files.text import decode_text
from paa.data.read_report import ReadReport
from paa.errors import one_line

_LARGEST = 1.5  # a coordinate as a fraction may be a little over 1; one in pixels is far over it
_MOST = 0.8  # share of the polygons; of true polygons, at most a fifth look like boxes with keypoints


class Row(NamedTuple):
    """A row. place: file and line, for messages. box: xyxy in fractions of the image's size."""

    place: str
    label: int
    box: list[float]


class RowReader:
    """Reads label files, and counts the polygons among their rows.

    classes: how many classes there are. keypoints: how many numbers follow the box in a row, 0 for none.
    """

    def __init__(self, classes: int, keypoints: int, report: ReadReport) -> None:
        self._classes = classes
        self._keypoints = keypoints
        self._report = report
        self._polygons = 0
        self._like_keypoints = 0

    def read(self, file: Path) -> list[Row] | None:
        """Return the rows of a file, None if it is no text; rows that cannot be used are left out."""
        try:
            text = decode_text(file.read_bytes())
        except (OSError, UnicodeDecodeError) as error:
            self._report.leave_out(f"{file}: cannot be read as text: {one_line(error)}")
            return None
        lines = ((f"{file} line {number}", line) for number, line in enumerate(text.splitlines(), start=1))
        rows = (self._row(place, line) for place, line in lines if line.strip())
        return [row for row in rows if row is not None]

    def warn_of_keypoints(self, source: Path) -> None:
        """Warn if nearly all polygons look like boxes with keypoints behind them; a single polygon may by chance."""
        if self._like_keypoints > max(1, _MOST * self._polygons):
            self._report.warn(
                f"{source}: {self._like_keypoints} of {self._polygons} polygons look like boxes with keypoints behind "
                "them; if they are, say so: kpt_shape: [keypoints, 2 or 3] in a data.yaml"
            )

    def _row(self, place: str, line: str) -> Row | None:
        try:
            label, *values = map(float, line.split())
        except ValueError:
            self._report.leave_out(f"{place} is not numbers: {line.strip():.40}")
            return None
        if fault := self._fault(label, values):
            self._report.leave_out(f"{place} {fault}")
            return None
        if self._keypoints:
            values = values[:4]
        elif len(values) > 4:
            self._polygons += 1
            self._like_keypoints += any(_is_like_keypoints(values, size) for size in (2, 3))
        return Row(place, int(label), _corners(values))

    def _fault(self, label: float, values: list[float]) -> str:
        """Return what is wrong with a row, "" if nothing is."""
        count, keypoints = len(values), self._keypoints
        if label not in range(self._classes):
            return f"has class {label:g}, but there are {self._classes} names"
        if keypoints and count not in (4, 4 + keypoints):
            return f"has {count} coordinates, neither a box (4) nor one with keypoints ({4 + keypoints}, by kpt_shape)"
        if not keypoints and count != 4 and (count < 6 or count % 2):
            return f"has {count} coordinates, neither a box (4) nor a polygon"
        wrong = [value for value in values if not math.isfinite(value)]
        if wrong:
            return f"has coordinate {wrong[0]:g}"
        corners = values[:4] if keypoints else values
        if max(map(abs, corners)) > _LARGEST:
            return f"has coordinate {max(corners, key=abs):g}; they must be fractions of the image's size"
        return ""


def _corners(values: list[float]) -> list[float]:
    """Return xyxy of a box (centre and size), or of the box around a polygon (x and y of its points in turn)."""
    if len(values) == 4:
        x, y, width, height = values
        return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    return [min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])]


def _is_like_keypoints(values: list[float], size: int) -> bool:
    """Return whether the first four numbers are a box, and the rest points of `size` numbers spread over that box."""
    left, top, right, bottom = _corners(values[:4])
    rest = values[4:]
    if len(rest) % size or any(visible not in (0, 1, 2) for visible in (rest[2::3] if size == 3 else ())):
        return False
    points = [(x, y) for x, y in zip(rest[::size], rest[1::size]) if x or y]  # a point that is not visible is 0 0
    if len(points) < 2:
        return False
    x, y = zip(*points)
    inside = left <= min(x) and max(x) <= right and top <= min(y) and max(y) <= bottom
    return bool(inside and max(x) - min(x) >= (right - left) / 4 and max(y) - min(y) >= (bottom - top) / 4)
