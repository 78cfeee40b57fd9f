"""Data sets as COCO JSON: one file a split, pictures in a folder near it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from paa.data.build import Classes, Found, build_index, match_classes, read_text, split_names
from paa.data.cache import cached
from paa.data.coco_columns import Column, Content, read_columns
from paa.data.index import DatasetIndex
from paa.data.report import ReadReport
from paa.errors import DataError

_SAMPLE = 10
_ROBOFLOW = "_annotations.coco.json"


def holds(path: Path) -> bool:
    """Return whether the path is, or the folder seems to hold, COCO JSON."""
    if path.is_file():
        return path.suffix.lower() == ".json"
    return any(any(path.glob(pattern)) for pattern in ("*.json", "annotations/*.json", f"*/{_ROBOFLOW}"))


def read(
    path: Path,
    split: str,
    report: ReadReport | None = None,
    *,
    images: Path | None = None,
    names: Sequence[str] | None = None,
    keep_empty: bool = True,
) -> DatasetIndex:
    """Read an annotation file, or that of the split in a folder.

    names: class names in the order of the labels wanted; else the file's, by ascending id. Pictures are looked for
    where the first few of them are found. Raises DataError and AnnotationError.
    """
    report = report or ReadReport()
    file = _find_file(path, split)
    report.format, report.annotations = "COCO", str(file)

    def read_file() -> DatasetIndex:
        return _read(file, split, names, keep_empty, report)

    options = {"split": split, "names": names, "keep_empty": keep_empty, "skip_bad": report.skip_bad}
    index = cached(file, options, report, read_file)
    report.images = str(index.root)
    return index


def _read(file: Path, split: str, names: Sequence[str] | None, keep_empty: bool, report: ReadReport) -> DatasetIndex:
    content = read_columns(file) or _read_carefully(file, report)
    _check_pictures(file, content)
    classes, category_ids = _classes(file, content.categories, names, report)
    table = content.annotations
    order = np.argsort(content.image_ids)
    images, known_image = _positions(table["image_id"], content.image_ids[order])
    labels, known_class = _positions(table["category_id"], category_ids)
    for row in np.flatnonzero(~(known_image & known_class)):
        column = "category" if known_image[row] else "image"
        report.leave_out(f"{file}: {_describe(table, row)} has unknown {column} {table[column + '_id'][row]}")
    rows = np.flatnonzero(known_image & known_class)
    corners = table["bbox"][rows]
    corners[:, 2:] += corners[:, :2]
    root, file_names = _find_pictures(file, split, content.file_names)
    found = Found(
        root=root,
        file_names=file_names,
        image_ids=content.image_ids,
        sizes=content.sizes.astype(np.int32),
        images=order[images[rows]],
        boxes=corners,
        labels=labels[rows],
        crowd=table["iscrowd"][rows] != 0,
        areas=table["area"][rows],
        describe=lambda row: _describe(table, rows[row]),
    )
    return build_index(file, found, classes, report, keep_empty)


def write_coco(index: DatasetIndex, path: Path) -> None:
    """Write an index as COCO JSON; reading it back gives the same columns."""
    images = [
        {"id": i, "file_name": bytes(name).decode("utf-8", "surrogateescape"), "height": height, "width": width}
        for i, name, (height, width) in zip(index.image_ids.tolist(), index.file_names, index.sizes.tolist())
    ]
    boxes = index.boxes.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    columns = {
        "id": range(1, len(boxes) + 1),
        "image_id": np.repeat(index.image_ids, np.diff(index.offsets)).tolist(),
        "category_id": index.category_ids[index.labels].tolist(),
        "bbox": boxes.tolist(),
        "area": index.areas.tolist(),
        "iscrowd": index.crowd.astype(int).tolist(),
    }
    annotations = [dict(zip(columns, row)) for row in zip(*columns.values())]
    categories = [{"id": i, "name": name} for i, name in zip(index.category_ids.tolist(), index.names)]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def _find_file(path: Path, split: str) -> Path:
    if path.is_file():
        return path
    for name in split_names(split):
        for pattern in (
            f"annotations/instances_{name}*.json",
            f"annotations/{name}.json",
            f"{name}.json",
            f"{name}/{_ROBOFLOW}",
            f"instances_{name}*.json",
        ):
            files = sorted(path.glob(pattern))
            if len(files) > 1:
                raise DataError(f"{path}: several files for {split!r}: {_join(files)}; give the one wanted as the path")
            if files:
                return files[0]
    there = sorted([*path.glob("*.json"), *path.glob("annotations/*.json"), *path.glob(f"*/{_ROBOFLOW}")])
    raise DataError(
        f"{path}: no COCO annotations for {split!r}: expected {split}.json or annotations/instances_{split}*.json; "
        f"there is {_join(there) or 'no .json file'}"
    )


def _read_carefully(file: Path, report: ReadReport) -> Content:
    """Return the content of any file, or say what is wrong with it."""
    data = _load(file)
    file_names, image_ids, sizes = _pictures(file, data["images"])
    annotations = _table(file, data.get("annotations") or [], report)
    return Content(file_names, image_ids, sizes, data.get("categories"), annotations)


def _load(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise DataError(f"{file}: broken JSON at line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise DataError(f"{file}: not COCO annotations: {error}") from error
    if not isinstance(data, dict) or not isinstance(data.get("images"), list):
        raise DataError(f"{file}: not COCO annotations: expected an object with a list 'images'")
    if not isinstance(data.get("annotations") or [], list):
        raise DataError(f"{file}: 'annotations' is not a list")
    return data


def _pictures(file: Path, entries: list[Any]) -> tuple[list[str], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return file names, ids (I,) and sizes (I, 2) of the pictures."""
    try:
        file_names = [str(entry["file_name"]) for entry in entries]
        sizes = np.array([(entry["height"], entry["width"]) for entry in entries], np.float64)
        return file_names, _whole([entry["id"] for entry in entries]), sizes.reshape(-1, 2)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{file}: a picture lacks id, file_name, height or width, or has a wrong one: {error}"
        ) from error


def _check_pictures(file: Path, content: Content) -> None:
    ids, sizes = content.image_ids, content.sizes
    if not len(ids):
        raise DataError(f"{file}: no pictures")
    if not (sizes >= 1).all():
        worst = int(np.flatnonzero(~(sizes >= 1).all(1))[0])
        raise DataError(f"{file}: image {ids[worst]} has height {sizes[worst, 0]:g} and width {sizes[worst, 1]:g}")
    unique, counts = np.unique(ids, return_counts=True)
    if len(unique) < len(ids):
        raise DataError(f"{file}: two pictures have the id {unique[counts > 1][0]}")


def _classes(
    file: Path, categories: Any, names: Sequence[str] | None, report: ReadReport
) -> tuple[Classes, npt.NDArray[np.int64]]:
    """Return the classes, and the file's category ids in ascending order."""
    try:
        pairs = sorted((int(c["id"]), str(c["name"])) for c in categories)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file}: 'categories' must be a list of objects with id and name") from error
    ids = np.array([i for i, _ in pairs], np.int64)
    if not pairs or len(np.unique(ids)) < len(ids):
        raise DataError(f"{file}: " + ("two classes have the same id" if pairs else "no classes"))
    return match_classes(file, [name for _, name in pairs], ids.tolist(), names, report), ids


def _table(file: Path, annotations: list[Any], report: ReadReport) -> dict[str, Column]:
    """Return the annotations that have the fields of one, as columns."""
    try:
        return _columns(annotations)
    except (KeyError, TypeError, ValueError):
        pass
    usable = []
    for annotation in annotations:
        try:
            _columns([annotation])
            usable.append(annotation)
        except (KeyError, TypeError, ValueError):
            name = f"annotation {annotation!r:.40}"
            if isinstance(annotation, dict):
                name = _name(annotation.get("id"), annotation.get("image_id"))
            report.leave_out(f"{file}: {name} lacks a usable image_id, category_id or bbox of 4 numbers")
    return _columns(usable)


def _columns(annotations: list[Any]) -> dict[str, Column]:
    count = len(annotations)
    ids = {key: _whole([a[key] for a in annotations]) for key in ("image_id", "category_id")}
    boxes = np.array([a["bbox"] for a in annotations], np.float64)
    if count and boxes.shape != (count, 4):
        raise ValueError("a box is not of 4 numbers")
    crowd = np.fromiter((a.get("iscrowd") or 0 for a in annotations), np.float64, count)
    area = np.array([a.get("area") for a in annotations], np.float64)  # None becomes NaN
    own = np.empty(count, object)  # their ids are for messages, and may be anything
    own[:] = [a.get("id") for a in annotations]
    return {"id": own, **ids, "bbox": boxes.reshape(count, 4), "iscrowd": crowd, "area": area}


def _whole(values: list[Any]) -> npt.NDArray[np.int64]:
    """Return whole numbers as int64, also those that a tool wrote as 1.0. Raises ValueError for anything else."""
    column = np.array(values)
    if column.ndim != 1 or column.dtype.kind not in "iuf" or (column.dtype.kind == "f" and (column % 1 != 0).any()):
        raise ValueError(f"not a whole number among {values[:3]}")
    return column.astype(np.int64)


def _positions(
    values: npt.NDArray[np.int64], ascending: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return where each value stands in `ascending`, and whether it does."""
    places = np.searchsorted(ascending, values).clip(max=len(ascending) - 1)
    return places, ascending[places] == values


def _find_pictures(file: Path, split: str, file_names: list[str]) -> tuple[Path, list[str]]:
    """Return the folder in which the first pictures are, and the names to open them by."""
    spread = file_names[:: max(1, len(file_names) // _SAMPLE)]
    for rename in (str, _posix, lambda name: Path(_posix(name)).name):
        hits = {folder: sum((folder / rename(n)).is_file() for n in spread) for folder in _folders(file, split)}
        best = max(hits, key=lambda folder: hits[folder])
        if hits[best]:
            return best, [rename(name) for name in file_names]
    looked = _join(list(dict.fromkeys(_folders(file, split)))[:4])
    raise DataError(f"{file}: pictures not found: {file_names[0]} is not in {looked}, nor in other folders near")


def _posix(name: str) -> str:
    return name.replace("\\", "/")


def _folders(file: Path, split: str) -> Iterator[Path]:
    """Yield the folders in which a split's pictures may be, the most telling first."""
    bases = [file.parent]
    if file.parent.name.lower().startswith("annot"):
        bases.append(file.parent.parent)
    own = file.stem.removeprefix("instances_")
    tokens = [own, *(name + year for name in split_names(split) for year in ("", "2017", "2014"))]
    yield file.parent
    for base in bases:
        for folder in (base, base / "images"):
            yield from (folder / token for token in tokens)
        yield from (base / "images", base / "JPEGImages", base)
    for base in bases:
        for folder in (base, base / "images"):
            if folder.is_dir():
                yield from sorted(child for child in folder.iterdir() if child.is_dir())


def _describe(table: dict[str, Column], row: np.int64) -> str:
    return _name(table["id"][row], table["image_id"][row])


def _name(annotation_id: object, image_id: object) -> str:
    return f"annotation {annotation_id} (image {image_id})"


def _join(files: Sequence[Path]) -> str:
    return ", ".join(map(str, files[:6]))
