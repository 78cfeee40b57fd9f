"""Small COCO data sets made on the fly, and reading them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paa.data.formats.coco.read import FORMAT
from paa.data.index import DatasetIndex
from paa.data.read import read_dataset
from paa.data.read_report import ReadReport
from paa.errors import DataError, MissingSplitError
from tests.data.data_files import box, write_image
from tests.data.formats.reading import failure, reader

BOXES = [box(1, 1, (4, 5, 20, 10), 1, area=200, iscrowd=0), box(2, 2, (30, 20, 10, 10), 2, area=100, iscrowd=0)]
CORNERS = [[4, 5, 24, 15], [30, 20, 40, 30]]
CLASSES = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]


read_coco = reader(FORMAT)
coco_fails = failure(read_coco)


def images(*names: str, ids: Sequence[Any] = (1, 2, 3)) -> list[dict[str, Any]]:
    """Return the records of images 64 wide and 48 high."""
    return [{"id": i, "file_name": name, "width": 64, "height": 48} for i, name in zip(ids, names)]


def write_images(folder: Path, *names: str) -> None:
    """Write images 64 wide and 48 high."""
    for name in names:
        write_image(folder / name, 48, 64, seed=len(name))


def coco_file(
    path: Path,
    records: Sequence[dict[str, Any]] | None = None,
    annotations: Sequence[dict[str, Any]] = BOXES,
    categories: Sequence[dict[str, Any]] = CLASSES,
    encoding: str = "utf-8",
) -> Path:
    """Write a COCO file, by default of a.jpg and b.jpg with a box each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    records = images("a.jpg", "b.jpg") if records is None else records
    content = {"images": records, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content), encoding=encoding)
    return path


def files(index: DatasetIndex, folder: Path) -> list[str]:
    """Return the paths of all images below a folder, links followed; each exists."""
    found = [index.path(i) for i in range(len(index))]
    assert all(file.is_file() for file in found)
    return [file.resolve().relative_to(folder.resolve()).as_posix() for file in found]


def read(path: Path, split: str = "train", **options: Any) -> tuple[DatasetIndex, ReadReport]:
    """Read a data set of any format."""
    report = ReadReport()
    return read_dataset(path, split, report=report, **options), report


def fails(path: Path, kind: type[DataError], split: str = "train", **options: Any) -> str:
    """Read a data set that cannot be read, and return the error's message, one line."""
    with pytest.raises(kind) as caught:
        read_dataset(path, split, **options)
    assert type(caught.value) is kind or (kind is DataError and type(caught.value) is MissingSplitError)
    message = str(caught.value)
    assert "\n" not in message
    return message


def mentioned(lines: Sequence[str], *words: str) -> bool:
    """Return whether one of the lines has all these words."""
    return any(all(word in line for word in words) for line in lines)


def assert_same(a: DatasetIndex, b: DatasetIndex) -> None:
    """Check that two indexes are equal in each column."""
    for name, value in vars(a).items():
        np.testing.assert_array_equal(value, getattr(b, name), err_msg=name)
