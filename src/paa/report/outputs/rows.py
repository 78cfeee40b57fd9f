"""One row for each detection, as the outputs `csv` and `parquet` have them."""

from __future__ import annotations

from typing import Any

from paa.report.outputs.entry import Entry

COLUMNS = ("file", "frame", "time", "width", "height", "x1", "y1", "x2", "y2", "score", "label", "name")
"""The image's file, the frame's number and seconds in a video (None for an image by itself), the image's size, the
box's corners in its pixels, its score, and its class as a number and a name."""


def rows_of(entry: Entry) -> list[tuple[Any, ...]]:
    """Return the rows of an image: none if it has no detections. File names that are invalid Unicode are escaped."""
    height, width = entry.image.shape[:2]
    file = entry.file.encode("utf-8", "backslashreplace").decode()
    found = entry.detections
    values = zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist())
    about = (file, entry.frame, entry.time, width, height)
    return [(*about, *box, score, label, found.names[label]) for box, score, label in values]
