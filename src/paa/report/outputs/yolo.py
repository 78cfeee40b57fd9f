"""The output `yolo`: labels/STEM.txt for each image, as in a data set for YOLO, and classes.txt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from paa.report.outputs.entry import Entry, Write
from paa.runtime.files import whole_file, write_text


@contextmanager
def yolo_labels(folder: Path, names: tuple[str, ...]) -> Iterator[Write]:
    """Yield what writes one image's label file, whole or not at all; an empty one for an image without detections.

    Those of a video's frames are in a folder of their own, labels/STEM/000012.txt.
    A row is the class and the box's centre and size as fractions of the image's. It has no score, so that the files
    are labels which annotation tools and trainings take.
    """
    labels = folder / "labels"
    labels.mkdir(exist_ok=True)
    write_text(folder / "classes.txt", "".join(f"{name}\n" for name in names))

    def write(entry: Entry) -> None:
        path = labels / f"{entry.stem}.txt"
        path.parent.mkdir(exist_ok=True)
        with whole_file(path, durable=False) as temporary:
            temporary.write_text("".join(f"{row}\n" for row in _rows(entry)), encoding="utf-8")

    yield write


def _rows(entry: Entry) -> list[str]:
    height, width = entry.image.shape[:2]
    corners = entry.detections.boxes.astype(np.float64) / (width, height, width, height)
    numbers = np.hstack([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]]).tolist()
    return [" ".join(map(str, (label, *row))) for label, row in zip(entry.detections.labels.tolist(), numbers)]
