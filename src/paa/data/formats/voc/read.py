"""Reading Pascal VOC data sets: one XML file for each image, beside the images or in a folder of their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from paa.data.build import RawSplit, build_index
from paa.data.classes import match_classes
from paa.data.files.paths import relative_name
from paa.data.formats.interface import Format, ReadRequest
from paa.data.formats.voc.pairs import Pair, read_pairs
from paa.data.formats.voc.places import find_places
from paa.data.formats.voc.sections import Section, sections_of, wanted_sections
from paa.data.index import DatasetIndex
from paa.data.read_report import ReadReport, first_few
from paa.errors import DataError


def level(path: Path) -> int | None:
    """Return how far below `path` VOC annotations lie: 0 at the path itself, 1 in a folder inside, else None."""
    depth, places = find_places(path)
    return depth if places else None


def read(request: ReadRequest, report: ReadReport) -> DatasetIndex:
    """Read a split of a folder of XML files and images, or of several such folders inside it.

    Lists in ImageSets/Main decide what a split is; else folders named as splits, of the annotations or of the images;
    without either, "train" is everything. Without wanted names, the classes are all that occur in any split,
    sorted. Boxes in the files are 1-based and inclusive; `difficult` becomes crowd. Raises DataError and
    AnnotationError.
    """
    path, split = request.path, request.split
    _, groups = find_places(path)
    if not groups:
        raise DataError(f"{path}: no VOC annotations: expected Annotations/*.xml, or XML files beside the images")
    sections = [section for group in groups for section in sections_of(group, request, report)]
    wanted = wanted_sections(sections, request, report)
    report.annotations = first_few(dict.fromkeys(section.place.annotations for section in wanted))
    report.images = first_few(dict.fromkeys(section.images.folder for section in wanted))
    stems = {file.stem for section in sections for file in section.files}
    pairs = [pair for section in wanted for pair in read_pairs(section, split, stems, report)]
    if not pairs:
        raise DataError(f"{path}: no images in {split!r}")
    return build_index(_raw_split(request, pairs, sections, report), request.keep_empty, report)


FORMAT = Format("VOC", "Annotations/*.xml", level, read)


class _Object(NamedTuple):
    """An object that can be used. image: the position of its image. place: its name in a message."""

    image: int
    place: str
    name: str
    difficult: bool
    box: list[float]


def _raw_split(
    request: ReadRequest, pairs: Sequence[Pair], sections: Iterable[Section], report: ReadReport
) -> RawSplit:
    path = request.path
    own = _class_names(request, pairs, sections)
    label_of = {name: label for label, name in enumerate(own)}
    objects = _objects(path, pairs, report)
    boxes = np.array([item.box for item in objects], np.float64).reshape(-1, 4)
    boxes[:, :2] -= 1
    return RawSplit(
        source=path,
        root=path,
        classes=match_classes(path, own, range(1, len(own) + 1), request.names, report),
        file_names=[relative_name(pair.image, path) for pair in pairs],
        image_ids=None,
        sizes=np.array([pair.annotation.size or (0, 0) for pair in pairs], np.int32),
        images=np.array([item.image for item in objects], np.int64),
        boxes=boxes,
        labels=np.array([label_of[item.name] for item in objects], np.int64),
        crowd=np.array([item.difficult for item in objects], np.bool_),
        areas=np.full(len(objects), np.nan),
        describe=lambda row: objects[row].place,
    )


def _class_names(request: ReadRequest, pairs: Sequence[Pair], sections: Iterable[Section]) -> list[str]:
    """Return the names in all files of the data set, sorted; if the wanted names are given, only in the split's."""
    if request.names is not None:
        annotations = [pair.annotation for pair in pairs]
    else:
        annotations = [annotation for section in sections for annotation in section.readable()]
    names = sorted({item.name for annotation in annotations for item in annotation.objects if item.name})
    if not names and request.names is None:
        raise DataError(f"{request.path}: no objects in any annotation file")
    return names


def _objects(path: Path, pairs: Sequence[Pair], report: ReadReport) -> list[_Object]:
    """Return the objects that can be used; the others are left out."""
    objects: list[_Object] = []
    odd: list[str] = []
    for i, pair in enumerate(pairs):
        file = relative_name(pair.annotation.file, path)
        for number, item in enumerate(pair.annotation.objects, start=1):
            place = f"{file} object {number}"
            if item.difficult is None:
                odd.append(place)
            if item.name is None or item.box is None:
                report.leave_out(f"{path}: {place} {item.problem}")
            else:
                objects.append(_Object(i, place, item.name, bool(item.difficult), item.box))
    if odd:
        report.warn(
            f"{path}: {len(odd)} objects have a `difficult` that is neither 0 nor 1, for example {odd[0]}",
            lambda: (f"{path}: {place} has a `difficult` that is neither 0 nor 1" for place in odd),
        )
    return objects
