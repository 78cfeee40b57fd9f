"""Data sets as Pascal VOC: one XML file a picture, and lists of names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from paa.data.build import Found, build_index, match_classes, read_text, split_names
from paa.data.images import SUFFIXES
from paa.data.index import DatasetIndex
from paa.data.report import ReadReport
from paa.errors import DataError

_LISTS = "ImageSets/Main"
_XML = "[!.]*.xml"  # macOS leaves ._name.xml behind


@dataclass(frozen=True)
class _Picture:
    """One annotation file. objects: (class, difficult, box), None where the XML does not give it."""

    file: Path
    size: tuple[int, int] | None
    objects: list[tuple[str | None, bool, list[float] | None]]


def holds(path: Path) -> bool:
    """Return whether the folder seems to hold VOC annotations."""
    return path.is_dir() and bool(_years(path))


def read(
    path: Path,
    split: str,
    report: ReadReport | None = None,
    *,
    images: Path | None = None,
    names: Sequence[str] | None = None,
    keep_empty: bool = True,
) -> DatasetIndex:
    """Read a split of a folder with Annotations/, JPEGImages/ and ImageSets/Main/, or of a VOCdevkit of several years.

    names: class names in the order of the labels wanted; else all that occur in any split, sorted. Without lists, the
    split "train" is everything. Boxes in the files are 1-based and inclusive; `difficult` becomes crowd.
    Raises DataError and AnnotationError.
    """
    years = _years(path)
    if not years:
        raise DataError(f"{path}: no VOC annotations: expected Annotations/*.xml")
    report = report or ReadReport()
    report.format, report.annotations = "VOC", str(path)
    listed = {year: stems for year in years if (stems := _listed(year, split)) is not None}
    if not listed:
        there = sorted(file.stem for year in years for file in (year / _LISTS).glob("*.txt"))
        raise DataError(f"{path}: no {_LISTS}/{split}.txt; there is {', '.join(there[:8]) or 'no list'}")
    pictures: list[_Picture] = []
    file_names: list[str] = []
    own: set[str] = set()
    for year in years:
        wanted = set(listed.get(year, []))
        parsed = {file.stem: _parse(file) for file in _xml_files(year) if names is None or file.stem in wanted}
        own.update(name for picture in parsed.values() for name, _, _ in picture.objects if name)
        files = _picture_files(year)
        for stem in listed.get(year, []):
            if stem not in parsed or stem not in files:
                report.leave_out(
                    f"{path}: {stem} is listed in {split} but has no {'picture' if stem in parsed else 'XML file'}"
                )
                continue
            pictures.append(parsed[stem])
            file_names.append(files[stem].relative_to(path).as_posix())
    if not pictures:
        raise DataError(f"{path}: no pictures in {split!r}")
    if not own and names is None:
        raise DataError(f"{path}: no objects in any annotation file")
    return _build(path, pictures, file_names, sorted(own), names, report, keep_empty)


def _build(
    path: Path,
    pictures: list[_Picture],
    file_names: list[str],
    own: list[str],
    names: Sequence[str] | None,
    report: ReadReport,
    keep_empty: bool,
) -> DatasetIndex:
    label_of = {name: label for label, name in enumerate(own)}
    rows: list[tuple[int, int, bool, list[float]]] = []
    places: list[str] = []
    for i, picture in enumerate(pictures):
        for number, (name, difficult, box) in enumerate(picture.objects, start=1):
            place = f"{picture.file.relative_to(path)} object {number}"
            if not name or box is None:
                report.leave_out(f"{path}: {place} has no " + ("usable bndbox" if name else "name"))
                continue
            rows.append((i, label_of[name], difficult, box))
            places.append(place)
    boxes = np.array([row[3] for row in rows], np.float64).reshape(-1, 4)
    boxes[:, :2] -= 1
    found = Found(
        root=path,
        file_names=file_names,
        image_ids=np.arange(1, len(pictures) + 1),
        sizes=np.array([picture.size or (0, 0) for picture in pictures], np.int32),
        images=np.array([row[0] for row in rows], np.int64),
        boxes=boxes,
        labels=np.array([row[1] for row in rows], np.int64),
        crowd=np.array([row[2] for row in rows], np.bool_),
        areas=np.full(len(rows), np.nan),
        describe=lambda row: places[row],
    )
    classes = match_classes(path, own, range(1, len(own) + 1), names, report)
    return build_index(path, found, classes, report, keep_empty)


def _years(path: Path) -> list[Path]:
    """Return the folders with annotations: the path itself, or those of a devkit inside it."""
    inside = (child for pattern in ("*", "VOCdevkit/*") for child in sorted(path.glob(pattern)))
    return [path] if _xml_files(path) else [child for child in inside if _xml_files(child)]


def _xml_files(year: Path) -> list[Path]:
    return sorted((year / "Annotations").glob(_XML)) or sorted((year / "annotations").glob(_XML))


def _listed(year: Path, split: str) -> list[str] | None:
    """Return the names in the split's list, None if there is none."""
    if not (year / _LISTS).is_dir():
        return [file.stem for file in _xml_files(year)] if split == "train" else None
    for name in split_names(split):
        file = year / _LISTS / f"{name}.txt"
        if file.is_file():
            lines = filter(None, map(str.strip, read_text(file).splitlines()))
            return [re.sub(r"\s+-?[01]$", "", line) for line in lines]  # "000012 -1" in the lists of one class
    return None


def _picture_files(year: Path) -> dict[str, Path]:
    folders = (year / "JPEGImages", year / "images", _xml_files(year)[0].parent)
    folder = next(folder for folder in folders if folder.is_dir())
    return {file.stem: file for file in sorted(folder.iterdir()) if file.suffix.lower() in SUFFIXES}


def _parse(file: Path) -> _Picture:
    try:
        root = ElementTree.parse(file).getroot()
    except (ElementTree.ParseError, OSError, ValueError, LookupError) as error:
        raise DataError(f"{file}: broken XML: {error}") from error
    objects = []
    for item in root.findall("object"):
        corners = [item.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
        name = (item.findtext("name") or "").strip()
        objects.append((name or None, (item.findtext("difficult") or "0").strip() == "1", _floats(corners)))
    size = _floats([root.findtext("size/height"), root.findtext("size/width")])
    known = size is not None and min(size) >= 1  # some tools write 0
    return _Picture(file, (int(size[0]), int(size[1])) if size and known else None, objects)


def _floats(texts: Sequence[str | None]) -> list[float] | None:
    try:
        return [float(text or "") for text in texts]
    except ValueError:
        return None
