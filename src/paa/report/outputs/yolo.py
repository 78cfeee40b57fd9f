"""The output `yolo`: labels/STEM.txt for each image, as in a data set for YOLO, and classes.txt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from paa.errors import ConfigError
from paa.report.outputs.entry import Entry, Write
from paa.runtime.files import whole_file, write_text

_LABELS, _CLASSES = "labels", "classes.txt"
_MARK = ".predicted"
"""An empty file among labels that a prediction wrote: nothing in them tells them from those that people drew.

Each label file that is written makes it newer; one that is newer still was changed by somebody else.
"""
_CHANGED = 1e9  # nanoseconds: a prediction that is killed may not have made its mark newer than its last file


def wrote(folder: Path) -> bool:
    """Return whether labels are of a prediction, which leaves its mark beside them."""
    return (folder / _LABELS / _MARK).exists()


def check_earlier(folder: Path, names: tuple[str, ...]) -> None:
    """Raise ConfigError where label files are whose numbers stand for other classes, or that a person has changed."""
    labels, listed = folder / _LABELS, folder / _CLASSES
    if not labels.exists():
        return
    if listed.exists() and listed.read_bytes() != _listed(names).encode():
        raise ConfigError(f"{listed}: the labels there are of other classes; give another --output")
    newest = (labels / _MARK).stat().st_mtime_ns + _CHANGED
    if changed := next((path for path in labels.rglob("*.txt") if path.stat().st_mtime_ns > newest), None):
        raise ConfigError(f"{changed}: was changed after it was predicted; give another --output")


@contextmanager
def yolo_labels(folder: Path, names: tuple[str, ...]) -> Iterator[Write]:
    """Yield what writes one image's label file, whole or not at all; an empty one for an image without detections.

    Those of a video's frames are in a folder of their own, labels/STEM/000012.txt.
    A row is the class and the box's centre and size as fractions of the image's. It has no score, so that the files
    are labels which annotation tools and trainings take.
    """
    labels = folder / _LABELS
    labels.mkdir(exist_ok=True)
    mark = labels / _MARK
    mark.touch()
    write_text(folder / _CLASSES, _listed(names))

    def write(entry: Entry) -> None:
        path = labels / f"{entry.stem}.txt"
        path.parent.mkdir(exist_ok=True)
        with whole_file(path, durable=False) as temporary:
            temporary.write_text("".join(f"{row}\n" for row in _rows(entry)), encoding="utf-8")
        mark.touch()

    yield write


def _listed(names: tuple[str, ...]) -> str:
    """Return a line for each class, also where a name has line ends in it."""
    return "".join(f"{' '.join(name.splitlines())}\n" for name in names)


def _rows(entry: Entry) -> list[str]:
    height, width = entry.image.shape[:2]
    corners = entry.detections.boxes.astype(np.float64) / (width, height, width, height)
    numbers = np.hstack([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]]).tolist()
    return [" ".join(map(str, (label, *row))) for label, row in zip(entry.detections.labels.tolist(), numbers)]
