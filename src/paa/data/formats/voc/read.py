"""Data sets as Pascal VOC: one XML file an image, beside the images or in a folder of their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from paa.data.build import Found, build_index, match_classes
from paa.data.files.folders import relative_name, some, with_name
from paa.data.files.split_folders import is_split, missing_split
from paa.data.files.splits import split_names
from paa.data.formats.voc.images import find_image_folder
from paa.data.formats.voc.layout import Place, chosen_split, find_places, list_for, lists_of, main_lists, settle
from paa.data.formats.voc.section import Record, Section, read_section
from paa.data.index import DatasetIndex
from paa.data.read_report import ReadReport
from paa.errors import DataError


def level(path: Path) -> int | None:
    """Return how far below `path` VOC annotations lie: 0 for its own, 1 for a folder's inside, None without any."""
    depth, places = find_places(path)
    return depth if places else None


def read(
    path: Path,
    split: str,
    report: ReadReport | None = None,
    *,
    images: Path | None = None,
    names: Sequence[str] | None = None,
    keep_empty: bool = True,
) -> DatasetIndex:
    """Read a split of a folder of XML files and images, or of several such folders inside it.

    Lists in ImageSets/Main decide what a split is; else folders named as splits, of the annotations or of the images;
    without either, "train" is everything. images: the folder of the images, else the one near the annotations. names:
    class names in the order of the labels wanted; else all that occur in any split, sorted. Boxes in the files are
    1-based and inclusive; `difficult` becomes crowd. Raises DataError and AnnotationError.
    """
    _, groups = find_places(path)
    if not groups:
        raise DataError(f"{path}: no VOC annotations: expected Annotations/*.xml, or XML files beside the images")
    report = report or ReadReport()
    sections = [section for group in groups for section in _sections(group, split, images, report)]
    wanted = _wanted(path, split, sections, report)
    report.format = "VOC"
    report.annotations = some(dict.fromkeys(section.place.annotations for section in wanted))
    report.images = some(dict.fromkeys(section.images.folder for section in wanted if section.images))
    stems = {file.stem for section in sections for file in section.files}
    records = [
        record
        for section in wanted
        if section.images is not None
        for record in read_section(section, section.images, split, stems, report)
    ]
    if not records:
        raise DataError(f"{path}: no images in {split!r}")
    own = _class_names(sections if names is None else wanted, None if names is None else records)
    if not own and names is None:
        raise DataError(f"{path}: no objects in any annotation file")
    return _build(path, records, own, names, report, keep_empty)


def _sections(group: Sequence[Place], split: str, images: Path | None, report: ReadReport) -> list[Section]:
    """Return the sections of a data set, of all its splits; those that belong to this one are `wanted`."""
    sections = []
    places = settle(group, report)
    of_split = chosen_split(places, split)
    for place in places:
        lists = lists_of(place.base)
        section = Section(place, place.xml_files(), list_for(lists, split))
        if place.split:
            section.splits, section.wanted = [place.split], place in of_split
        elif lists:
            section.splits, section.wanted = main_lists(lists), section.list is not None
        if section.wanted or not section.splits:
            section.images = find_image_folder(place, map(place.key, section.files), images)
        if not section.splits and section.images:
            section.splits = sorted(set(section.images.splits.values()) - {""})
            same = [name for name in section.splits if name.lower() == split.lower()]
            section.image_splits = same or [name for name in section.splits if is_split(name, split)]
            base = with_name(place.base).name
            named = base.lower() == split.lower() or is_split(base, split)
            section.wanted = bool(section.image_splits) if section.splits else named or split in split_names("train")
        sections.append(section)
    return sections


def _wanted(path: Path, split: str, sections: Sequence[Section], report: ReadReport) -> list[Section]:
    """Return the sections that belong to the split. Raises DataError if there are none."""
    wanted = [section for section in sections if section.wanted]
    found = list(dict.fromkeys(name for section in sections for name in section.splits))
    if not wanted:
        raise missing_split(path, split, found or ["train (all of it, without lists or folders of splits)"])
    for section in wanted:
        if found and not section.splits:
            report.warn(f"{section.place.annotations}: has no lists of splits, so all of it is in {split!r}")
    return wanted


def _class_names(sections: Iterable[Section], records: Sequence[Record] | None) -> list[str]:
    """Return the names in these records, or in all files of the sections, sorted."""
    if records is not None:
        annotations = [record.annotation for record in records]
    else:
        annotations = [annotation for section in sections for annotation in section.readable()]
    return sorted({item.name for annotation in annotations for item in annotation.objects if item.name})


def _build(
    path: Path,
    records: Sequence[Record],
    own: list[str],
    names: Sequence[str] | None,
    report: ReadReport,
    keep_empty: bool,
) -> DatasetIndex:
    label_of = {name: label for label, name in enumerate(own)}
    rows: list[tuple[int, int, bool, list[float]]] = []
    places: list[str] = []
    odd: list[str] = []
    for i, record in enumerate(records):
        file = relative_name(record.annotation.file, path)
        for number, item in enumerate(record.annotation.objects, start=1):
            place = f"{file} object {number}"
            if item.difficult is None:
                odd.append(place)
            if item.name is None or item.box is None:
                report.leave_out(f"{path}: {place} {item.problem}")
                continue
            rows.append((i, label_of[item.name], bool(item.difficult), item.box))
            places.append(place)
    if odd:
        report.warn(f"{path}: {len(odd)} objects have a `difficult` that is neither 0 nor 1; one is {odd[0]}")
    boxes = np.array([row[3] for row in rows], np.float64).reshape(-1, 4)
    boxes[:, :2] -= 1
    found = Found(
        root=path,
        file_names=[relative_name(record.image, path) for record in records],
        image_ids=np.arange(1, len(records) + 1),
        sizes=np.array([record.annotation.size or (0, 0) for record in records], np.int32),
        images=np.array([row[0] for row in rows], np.int64),
        boxes=boxes,
        labels=np.array([row[1] for row in rows], np.int64),
        crowd=np.array([row[2] for row in rows], np.bool_),
        areas=np.full(len(rows), np.nan),
        describe=lambda row: places[row],
    )
    classes = match_classes(path, own, range(1, len(own) + 1), names, report)
    return build_index(path, found, classes, report, keep_empty)
