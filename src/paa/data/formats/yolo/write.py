"""Writing a data set as YOLO: a data.yaml, and for each image a text file with rows of class and box."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import yaml

from paa.data.formats.interface import Writer
from paa.data.formats.losses import lost_with_json
from paa.data.index import DatasetIndex
from paa.data.read_report import counted


def write_splits(folder: Path, splits: Mapping[str, DatasetIndex]) -> None:
    """Write data.yaml and labels/SPLIT/*.txt for images in images/SPLIT, an empty file for an image without objects.

    A row is the class and the box's centre and size as fractions of the image's size, in all digits. Crowds are left
    out, as a row cannot say that it is one.
    """
    names = next(iter(splits.values())).names
    description = {**{split: f"images/{split}" for split in splits}, "names": dict(enumerate(names))}
    # PyYAML writes U+0085, a line end, as it is, and reads it as a space, unless it escapes all that is not ASCII
    plain = not any("\x85" in name for name in names)
    text = yaml.safe_dump(description, sort_keys=False, allow_unicode=plain)
    (folder / "data.yaml").write_text(text, encoding="utf-8")
    for split, index in splits.items():
        labels = folder / "labels" / split
        labels.mkdir(parents=True)
        for i in range(len(index)):
            file = labels / Path(index.path(i).name).with_suffix(".txt")
            file.write_text("".join(row + "\n" for row in _rows(index, i)), encoding="utf-8")


def _rows(index: DatasetIndex, i: int) -> list[str]:
    """Return the rows of image `i`."""
    boxes, labels = index.targets(i)
    corners = boxes.astype(np.float64) / np.tile(index.sizes[i][::-1], 2)
    centres, sides = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    numbers = np.concatenate([centres, sides], axis=1).tolist()
    return [" ".join(map(str, (label, *row))) for label, row in zip(labels.tolist(), numbers)]


def _cannot_hold(splits: Mapping[str, DatasetIndex]) -> list[str]:
    crowds = sum(int(index.crowd.sum()) for index in splits.values())
    lost = [f"{counted(crowds, 'object')} of crowds or difficult, which are left out"] if crowds else []
    return lost + lost_with_json(splits)


WRITER = Writer("YOLO", lambda split: f"images/{split}", True, write_splits, _cannot_hold)
