"""Reading COCO data sets: one JSON file for each split, images in folders near the file."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from paa.data.build import RawSplit, build_index
from paa.data.cache import cached
from paa.data.files.locate import Located, Records, locate_images
from paa.data.files.search import Search
from paa.data.files.splits import main_name
from paa.data.formats.coco.categories import Categories, read_categories
from paa.data.formats.coco.columns import Column, Content, read_columns
from paa.data.formats.coco.fields import annotation_name, read_fields
from paa.data.formats.coco.split_files import find_split_file, level, other_json
from paa.data.formats.interface import Format, ReadRequest
from paa.data.index import DatasetIndex
from paa.data.read_report import ReadReport
from paa.errors import DataError


def read(request: ReadRequest, report: ReadReport) -> DatasetIndex:
    """Read an annotation file, or the file of the split in a folder.

    `paa.data.files.locate` finds the images. Without wanted names, classes are in the order of their ids. A file whose
    name says a split is read as that split, whichever was requested. Raises DataError, AnnotationError and ImageError.
    """
    found = find_split_file(request.path, request.split, report)
    report.annotations = str(found.file)
    if len(found.splits) == 1 and main_name(request.split) not in found.splits:
        (report.split,) = found.splits
    search = Search(found.file, found.splits, request.split, found.bases, request.images)
    options = {
        "split": request.split,
        "names": request.names,
        "keep_empty": request.keep_empty,
        "skip_bad": report.skip_bad,
        "images": None if request.images is None else str(request.images),
        "bases": [str(base) for base in found.bases],
        "allow_outside": [str(folder) for folder in request.allow_outside],
    }
    index = cached(found.file, options, report, lambda: _read_file(search, request, report))
    report.images = str(index.root)
    return index


FORMAT = Format("COCO", "train.json, annotations/instances_train*.json", level, read, other_json)


def _read_file(search: Search, request: ReadRequest, report: ReadReport) -> DatasetIndex:
    content = read_columns(search.file) or read_fields(search.file, report)
    images = _one_of_each_id(content, report)
    categories = read_categories(content, request.names, report)
    records = Records([content.file_names[i] for i in images.tolist()], content.image_ids[images].tolist())
    located = locate_images(search, records, report)
    raw = _raw_split(content, categories, images, located, report)
    return build_index(raw, request.keep_empty, report)


def _raw_split(
    content: Content,
    categories: Categories,
    images: npt.NDArray[np.int64],
    located: Located,
    report: ReadReport,
) -> RawSplit:
    """Return the located images and their annotations.

    images: the positions in the content of those that were looked for.
    """
    file, table = content.file, content.annotations
    images = images[located.found]
    known = _known_rows(content, content.image_ids[images], categories.ids, report)
    corners = table["bbox"][known.rows]
    with np.errstate(over="ignore", invalid="ignore"):  # boxes that are not finite are left out later
        corners[:, 2:] += corners[:, :2]
    sizes = content.sizes[images].astype(np.int32)
    if unknown := int((sizes < 1).any(axis=1).sum()):
        report.warn(f"{file}: {unknown} images have no height or width; those of the image files are taken")
    return RawSplit(
        source=file,
        root=located.root,
        classes=categories.classes,
        file_names=[name for name, exists in zip(located.file_names, located.found.tolist()) if exists],
        image_ids=content.image_ids[images],
        sizes=sizes,
        images=known.images,
        boxes=corners,
        labels=known.labels,
        crowd=table["iscrowd"][known.rows] != 0,
        areas=table["area"][known.rows],
        describe=lambda row: _describe(table, known.rows[row]),
    )


class _KnownRows(NamedTuple):
    """The rows of annotations whose image and category are known, and the positions of these; each (n,)."""

    rows: npt.NDArray[np.int64]
    images: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]


def _known_rows(
    content: Content, image_ids: npt.NDArray[np.int64], category_ids: npt.NDArray[np.int64], report: ReadReport
) -> _KnownRows:
    """Return the annotations of these images and categories.

    An annotation of an image that the file does not have, or of an unknown category, is left out. category_ids (C,):
    ascending.
    """
    table = content.annotations
    order = np.argsort(image_ids)
    places, known_image = _positions(table["image_id"], image_ids[order])
    labels, known_category = _positions(table["category_id"], category_ids)
    left_out = ~known_image & np.isin(table["image_id"], content.image_ids)  # annotations left out with their images
    for row in np.flatnonzero(~(known_image & known_category | left_out)):
        column = "category" if known_image[row] else "image"
        value = table[f"{column}_id"][row]
        report.leave_out(f"{content.file}: {_describe(table, row)} has unknown {column} {value}")
    rows = np.flatnonzero(known_image & known_category)
    return _KnownRows(rows, order[places[rows]], labels[rows])


def _one_of_each_id(content: Content, report: ReadReport) -> npt.NDArray[np.int64]:
    """Return the positions of one image for each id; an id that two files share is left out. Raises DataError."""
    ids = content.image_ids
    unique, first, inverse, counts = np.unique(ids, return_index=True, return_inverse=True, return_counts=True)
    usable = np.ones(len(unique), np.bool_)
    repeated = 0
    by_id, ends = np.argsort(inverse, kind="stable"), np.cumsum(counts)
    for k in np.flatnonzero(counts > 1).tolist():
        names = dict.fromkeys(content.file_names[i] for i in by_id[ends[k] - counts[k] : ends[k]].tolist())
        if len(names) == 1:
            repeated += 1
            continue
        usable[k] = False
        report.leave_out(f"{content.file}: two images have the id {unique[k]}: {' and '.join(list(names)[:2])}")
    if repeated:
        report.warn(f"{content.file}: {repeated} images are in the file more than once, with the same id and name")
    if not usable.any():
        raise DataError(f"{content.file}: no images")
    return np.sort(first[usable])


def _positions(
    values: npt.NDArray[np.int64], ascending: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the position of each value in `ascending`, and whether the value is in it."""
    places = np.searchsorted(ascending, values).clip(max=len(ascending) - 1)
    return places, ascending[places] == values


def _describe(table: dict[str, Column], row: np.int64) -> str:
    return annotation_name({"id": table["id"][row], "image_id": table["image_id"][row]})
