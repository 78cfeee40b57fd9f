"""COCO data sets of a few small images, as people have them, and what comes of reading them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from paa.data.index import DatasetIndex
from paa.data.read import read_dataset
from paa.data.read_report import ReadReport
from paa.errors import DataError
from tests.data.data_files import box, write_image

BOXES = [box(1, 1, (4, 5, 20, 10), 1, area=200, iscrowd=0), box(2, 2, (30, 20, 10, 10), 2, area=100, iscrowd=0)]
CORNERS = [[4, 5, 24, 15], [30, 20, 40, 30]]
CLASSES = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]


def images(*names: str, ids: Sequence[Any] = (1, 2, 3)) -> list[dict[str, Any]]:
    return [{"id": i, "file_name": name, "width": 64, "height": 48} for i, name in zip(ids, names)]


def put(folder: Path, *names: str) -> None:
    for name in names:
        write_image(folder / name, 48, 64, seed=len(name))


def coco(
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
    found = [index.path(i) for i in range(len(index))]
    assert all(file.is_file() for file in found)
    return [file.resolve().relative_to(folder.resolve()).as_posix() for file in found]


def read(path: Path, split: str = "train", **options: Any) -> tuple[DatasetIndex, ReadReport]:
    report = ReadReport()
    return read_dataset(path, split, report=report, **options), report


def fails(path: Path, kind: type[DataError], split: str = "train", **options: Any) -> str:
    with pytest.raises(kind) as caught:
        read_dataset(path, split, **options)
    assert type(caught.value) is kind
    message = str(caught.value)
    assert "\n" not in message
    return message


def named(warnings: Sequence[str], *parts: str) -> bool:
    return any(all(part in warning for part in parts) for warning in warnings)
