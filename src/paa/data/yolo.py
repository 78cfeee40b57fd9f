"""Data sets as YOLO (Ultralytics): a data.yaml, pictures in images/, one text file a picture in labels/."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from paa.data.build import Found, build_index, match_classes, read_text, split_names
from paa.data.images import SUFFIXES
from paa.data.index import DatasetIndex
from paa.data.report import ReadReport
from paa.errors import DataError

_LARGEST = 1.5  # a normalised coordinate may be a little over 1; one of pixels is far over it


def holds(path: Path) -> bool:
    """Return whether the path is, or the folder holds, a YOLO data set description."""
    if path.is_file():
        return path.suffix.lower() in (".yaml", ".yml")
    return _yaml_in(path) is not None


def read(
    path: Path,
    split: str,
    report: ReadReport | None = None,
    *,
    images: Path | None = None,
    names: Sequence[str] | None = None,
    keep_empty: bool = True,
) -> DatasetIndex:
    """Read a split of a data.yaml, or of the folder that holds one.

    names: class names in the order of the labels wanted; else the file's. A picture without a label file has no
    objects; polygons become their bounding boxes. Raises DataError, AnnotationError and ImageError.
    """
    file = path if path.is_file() else _yaml_in(path)
    if file is None:
        raise DataError(f"{path}: no data.yaml")
    data = _load(file)
    root = _root(file, data)
    own = _names(file, data)
    report = report or ReadReport()
    report.format, report.annotations = "YOLO", str(file)
    pictures = _pictures(file, root, data, split)
    if not any(_label_file(picture).is_file() for picture in pictures):
        raise DataError(f"{file}: no labels for {split!r}: expected such as {_label_file(pictures[0])}")
    rows, places = [], []
    for i, picture in enumerate(pictures):
        for place, label, box in _objects(_label_file(picture), len(own), report):
            rows.append((i, label, *box))
            places.append(place)
    table = np.array(rows, np.float64).reshape(-1, 6)
    found = Found(
        root=root,
        file_names=[p.relative_to(root).as_posix() if p.is_relative_to(root) else str(p.absolute()) for p in pictures],
        image_ids=np.arange(1, len(pictures) + 1),
        sizes=np.zeros((len(pictures), 2), np.int32),
        images=table[:, 0].astype(np.int64),
        boxes=table[:, 2:],
        labels=table[:, 1].astype(np.int64),
        crowd=np.zeros(len(table), np.bool_),
        areas=np.full(len(table), np.nan),
        describe=lambda row: places[row],
        normalised=True,
    )
    return build_index(file, found, match_classes(file, own, range(len(own)), names, report), report, keep_empty)


def _yaml_in(folder: Path) -> Path | None:
    files = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
    usual = [file for file in files if file.stem in ("data", "dataset")]
    return next(iter(usual or files), None)


def _load(file: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(read_text(file))
    except yaml.YAMLError as error:
        raise DataError(f"{file}: broken YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise DataError(f"{file}: expected keys such as train, val and names")
    return data


def _root(file: Path, data: dict[str, Any]) -> Path:
    """Return the folder the entries are relative to: `path`, itself relative to the file; the file's own if absent."""
    root = file.parent / str(data.get("path") or "")
    return root if root.is_dir() else file.parent


def _names(file: Path, data: dict[str, Any]) -> list[str]:
    names = data.get("names")
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DataError(f"{file}: 'names' must be a list of class names, or a mapping from 0, 1, ... to them")
    return [str(name) for name in names]


def _pictures(file: Path, root: Path, data: dict[str, Any], split: str) -> list[Path]:
    entry = next((data[name] for name in split_names(split) if data.get(name)), None)
    if entry is None:
        raise DataError(f"{file}: no {split!r}; it has {', '.join(map(str, data))}")
    pictures: list[Path] = []
    for item in entry if isinstance(entry, list) else [entry]:
        place = root / str(item)
        if not place.exists() and str(item).startswith("../"):  # Roboflow writes ../train/images for train/images
            place = root / str(item)[3:]
        if place.is_dir():
            pictures.extend(p for p in sorted(place.rglob("[!.]*")) if p.suffix.lower() in SUFFIXES)
        elif place.is_file() and place.suffix.lower() in SUFFIXES:
            pictures.append(place)
        elif place.is_file():
            pictures.extend(_listed(place, root))
        else:
            raise DataError(f"{file}: {split!r} names {item}, which is not there ({place})")
    if not pictures:
        raise DataError(f"{file}: no pictures in {split!r} ({entry})")
    return pictures


def _listed(file: Path, root: Path) -> Iterator[Path]:
    lines = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    for line in lines:
        beside = file.parent / line
        yield beside if line.startswith("./") or beside.is_file() else root / line


def _label_file(picture: Path) -> Path:
    """Return the label file of a picture: labels/ for the last images/ of its path, else beside it."""
    parts = list(picture.parts)
    if "images" in parts[:-1]:
        last = len(parts) - 1 - parts[::-1].index("images")
        parts[last] = "labels"
    return Path(*parts).with_suffix(".txt")


def _objects(file: Path, classes: int, report: ReadReport) -> Iterator[tuple[str, int, list[float]]]:
    """Yield (where, label, normalised xyxy) of each line that is a box or a polygon."""
    if not file.is_file():
        return
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        if not line.strip():
            continue
        place = f"{file} line {number}"
        try:
            label, *values = map(float, line.split())
        except ValueError:
            report.leave_out(f"{place} is not numbers: {line.strip():.40}")
            continue
        if label not in range(classes):
            report.leave_out(f"{place} has class {label:g}, but there are {classes} names")
        elif len(values) != 4 and (len(values) < 6 or len(values) % 2):
            report.leave_out(f"{place} has {len(values)} coordinates, neither a box (4) nor a polygon")
        elif max(map(abs, values)) > _LARGEST:
            report.leave_out(
                f"{place} has coordinate {max(values, key=abs):g}; they must be fractions of the picture's size"
            )
        else:
            yield place, int(label), _corners(values)


def _corners(values: list[float]) -> list[float]:
    if len(values) == 4:
        x, y, width, height = values
        return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    return [min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])]
