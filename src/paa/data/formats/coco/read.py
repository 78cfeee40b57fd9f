"""Data sets as COCO JSON: one file a split, images in folders near it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from paa.data.build import Classes, Found, build_index, match_classes
from paa.data.cache import cached
from paa.data.files.image_files import Records, Search, locate_images
from paa.data.files.splits import main_name
from paa.data.formats.coco.columns import Column, Content, read_columns
from paa.data.formats.coco.fields import annotation_name, read_categories, read_fields
from paa.data.formats.coco.files import find_split_file, level
from paa.data.index import DatasetIndex
from paa.data.read_report import ReadReport
from paa.errors import DataError

__all__ = ["level", "read", "write_coco"]


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

    images: the folder of the images, else they are looked for (`image_files.py`). names: class names in the order of
    the labels wanted; else the file's, by ascending id. A file whose name says a split is that split, whatever is
    asked. Raises DataError, AnnotationError and ImageError.
    """
    report = report or ReadReport()
    found = find_split_file(path, split, report)
    report.format, report.annotations = "COCO", str(found.file)
    if len(found.splits) == 1 and main_name(split) not in found.splits:
        report.split = next(iter(found.splits))
    search = Search(found.file, found.splits, split, found.bases, images)

    def read_file() -> DatasetIndex:
        return _read(search, names, keep_empty, report)

    options = {
        "split": split,
        "names": names,
        "keep_empty": keep_empty,
        "skip_bad": report.skip_bad,
        "images": None if images is None else str(images),
        "bases": [str(base) for base in found.bases],
    }
    index = cached(found.file, options, report, read_file)
    report.images = str(index.root)
    return index


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


def _read(search: Search, names: Sequence[str] | None, keep_empty: bool, report: ReadReport) -> DatasetIndex:
    file = search.file
    content = read_columns(file) or read_fields(file, report)
    table = content.annotations
    images = _one_of_each_id(file, content, report)
    classes, category_ids = _classes(file, content, names, report)
    records = Records([content.file_names[i] for i in images.tolist()], content.image_ids[images].tolist())
    located = locate_images(search, records, report)
    images = images[located.found]
    ids = content.image_ids[images]
    order = np.argsort(ids)
    places, known_image = _positions(table["image_id"], ids[order])
    labels, known_class = _positions(table["category_id"], category_ids)
    left_out = ~known_image & np.isin(table["image_id"], content.image_ids)  # with their images
    for row in np.flatnonzero(~(known_image & known_class | left_out)):
        column = "category" if known_image[row] else "image"
        report.leave_out(f"{file}: {_describe(table, row)} has unknown {column} {table[column + '_id'][row]}")
    rows = np.flatnonzero(known_image & known_class)
    corners = table["bbox"][rows]
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is left out
        corners[:, 2:] += corners[:, :2]
    sizes = content.sizes[images].astype(np.int32)
    if unknown := int((sizes < 1).any(axis=1).sum()):
        report.warn(f"{file}: {unknown} images have no height or width; those of the images themselves are taken")
    found = Found(
        root=located.root,
        file_names=[name for name, exists in zip(located.file_names, located.found.tolist()) if exists],
        image_ids=ids,
        sizes=sizes,
        images=order[places[rows]],
        boxes=corners,
        labels=labels[rows],
        crowd=table["iscrowd"][rows] != 0,
        areas=table["area"][rows],
        describe=lambda row: _describe(table, rows[row]),
    )
    return build_index(file, found, classes, report, keep_empty)


def _one_of_each_id(file: Path, content: Content, report: ReadReport) -> npt.NDArray[np.int64]:
    """Return the positions of images, each id once; one that two files share is left out. Raises DataError for none."""
    ids = content.image_ids
    unique, first, inverse, counts = np.unique(ids, return_index=True, return_inverse=True, return_counts=True)
    usable = np.ones(len(unique), np.bool_)
    repeated = 0
    for k in np.flatnonzero(counts > 1).tolist():
        names = dict.fromkeys(content.file_names[i] for i in np.flatnonzero(inverse == k).tolist())
        if len(names) == 1:
            repeated += 1
            continue
        usable[k] = False
        report.leave_out(f"{file}: two images have the id {unique[k]}: {' and '.join(list(names)[:2])}")
    if repeated:
        report.warn(f"{file}: {repeated} images stand in the file more than once, with the same id and name")
    if not usable.any():
        raise DataError(f"{file}: no images")
    return np.sort(first[usable])


def _classes(
    file: Path, content: Content, names: Sequence[str] | None, report: ReadReport
) -> tuple[Classes, npt.NDArray[np.int64]]:
    """Return the classes, and the file's category ids in ascending order, without those that only group others."""
    rows = read_categories(file, content.categories)
    used = set(np.unique(content.annotations["category_id"]).tolist())
    known = set(names or ())
    own = [name for _, name, _ in rows]
    groups = [
        number
        for number, name, _ in rows
        if number not in used
        and any(above == name and other != number for other, _, above in rows)
        and (name not in known or own.count(name) > 1)
    ]
    kept = [(number, name) for number, name, _ in rows if number not in groups]
    if groups and kept:
        left = ", ".join(f"{name} (id {number})" for number, name, _ in rows if number in groups)
        report.warn(f"{file}: {left} is no class: it only groups others (supercategory) and has no annotation")
    else:
        kept = [(number, name) for number, name, _ in rows]
    ids = [number for number, _ in kept]
    return match_classes(file, [name for _, name in kept], ids, names, report), np.array(ids, np.int64)


def _positions(
    values: npt.NDArray[np.int64], ascending: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return where each value stands in `ascending`, and whether it does."""
    places = np.searchsorted(ascending, values).clip(max=len(ascending) - 1)
    return places, ascending[places] == values


def _describe(table: dict[str, Column], row: np.int64) -> str:
    return annotation_name({"id": table["id"][row], "image_id": table["image_id"][row]})
