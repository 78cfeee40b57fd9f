"""The annotation files of one folder, and the image of each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from paa.data.files.folders import NameLookup, parts_of
from paa.data.formats.voc.images import ImageFinder, ImageFolder
from paa.data.formats.voc.layout import Place, list_lines
from paa.data.formats.voc.xml import Annotation, read_annotation
from paa.data.images.decoders import decodable_suffixes
from paa.data.read_report import ReadReport
from paa.errors import DataError

_CLASS_LIST = re.compile(r"\s+-?[01]$")  # "000012 -1" in the lists of one class


class Record(NamedTuple):
    """An image and its annotations."""

    annotation: Annotation
    image: Path


@dataclass
class Section:
    """The annotation files of one place.

    list: of the names of the split that is read; None for all files. splits: what the place says of splits. images:
    where its images are, None if they are not needed. image_splits: the folders of images that are the split, where
    folders of images are what decides. wanted: it belongs to the split that is read.
    """

    place: Place
    files: list[Path]
    list: Path | None
    splits: Sequence[str] = ()
    images: ImageFolder | None = None
    image_splits: Sequence[str] = ()
    wanted: bool = False
    _contents: dict[Path, Annotation | DataError | None] = field(default_factory=dict)

    def content(self, file: Path) -> Annotation | DataError | None:
        """Return what a file holds, None if it is no VOC annotation, the error if it is broken; it is read once."""
        if file not in self._contents:
            try:
                self._contents[file] = read_annotation(file)
            except DataError as error:
                self._contents[file] = error
        return self._contents[file]

    def readable(self) -> Iterator[Annotation]:
        """Yield the content of all files that have one."""
        contents = map(self.content, self.files)
        return (content for content in contents if isinstance(content, Annotation))


def read_section(
    section: Section, folder: ImageFolder, split: str, stems: set[str], report: ReadReport
) -> list[Record]:
    """Return the images of a section that belong to the split, in the order of its list, else of its files.

    folder: of its images. stems: of all annotation files, also of other sections; images of other names have none.
    What has no image, or shares it, is left out.
    """
    for remark in folder.remarks:
        report.warn(remark)
    finder = ImageFinder(folder)
    files = _listed(section, section.list, folder, split, report) if section.list else section.files
    found = _images_of(section, files, finder, report)
    by_image: dict[Path, list[Annotation]] = {}
    for annotation, image in found:
        by_image.setdefault(image, []).append(annotation)
    for image, its in by_image.items():
        if len(its) > 1:
            both = " and ".join(str(annotation.file) for annotation in its[:2])
            report.leave_out(f"{image}: is the image of both {both}")
    if section.list is None:
        own = {image for file in section.files for image in finder.by_key(section.place.key(file))}
        _warn_of_unlabelled(section, [f for f in folder.files if f not in by_image and f not in own], stems, report)
    return [Record(annotation, image) for annotation, image in found if len(by_image[image]) == 1]


def _images_of(
    section: Section, files: Sequence[Path], finder: ImageFinder, report: ReadReport
) -> list[tuple[Annotation, Path]]:
    """Return the annotations that have an image in the split, and the image."""
    owners: dict[Path, Path] | None = None
    found: list[tuple[Annotation, Path]] = []
    strangers: list[Path] = []
    for file in files:
        images = finder.by_key(section.place.key(file))
        if images and all(not _in_split(section, image) for image in images):
            continue
        content = section.content(file)
        if isinstance(content, DataError):
            report.leave_out(str(content))
            continue
        if content is None:
            if section.list is not None:
                report.leave_out(f"{file}: is listed, but is no VOC annotation (its root is not <annotation>)")
            strangers.append(file)
            continue
        if images:
            images = finder.one_of(images, content)
        elif images := finder.by_content(content):
            owners = owners if owners is not None else _owners(section, finder)
            if images[0] in owners:
                report.leave_out(f"{file}: names {images[0]} as its image, which is that of {owners[images[0]]}")
                continue
        if len(images) != 1:
            report.leave_out(f"{file}: {_no_image(section, content, images)}")
        elif _in_split(section, images[0]):
            found.append((content, images[0]))
    if strangers and section.list is None:
        report.warn(
            f"{section.place.annotations}: {len(strangers)} XML files are no VOC annotations, and were not read; "
            f"the first is {strangers[0].name}"
        )
    return found


def _owners(section: Section, finder: ImageFinder) -> dict[Path, Path]:
    """Return the annotation file that each image has by its name."""
    return {image: file for file in section.files for image in finder.by_key(section.place.key(file))}


def _in_split(section: Section, image: Path) -> bool:
    return not section.image_splits or (
        section.images is not None and section.images.splits[image] in section.image_splits
    )


def _no_image(section: Section, annotation: Annotation, images: Sequence[Path]) -> str:
    if images:
        return f"has two images: {images[0]} and {images[1]}"
    name = (parts_of(annotation.filename or annotation.path) or [""])[-1]
    others = f" and no {name}" if name else ""
    folder = section.images.folder if section.images else section.place.base
    return f"has no image: there is no {annotation.file.stem}.*{others} in {folder}"


def _warn_of_unlabelled(section: Section, images: Sequence[Path], stems: set[str], report: ReadReport) -> None:
    without = [image for image in images if image.stem not in stems and _in_split(section, image)]
    if without and section.images:
        total = sum(_in_split(section, image) for image in section.images.files)
        report.warn(
            f"{section.images.folder}: {len(without)} of {total} images have no annotation file, and are not read; "
            f"the first is {without[0].name}"
        )


def _listed(section: Section, source: Path, folder: ImageFolder, split: str, report: ReadReport) -> Sequence[Path]:
    """Return the annotation files that a list names, in its order, each once."""
    names = _ListedNames(section, {image.stem for image in folder.files})
    files: dict[Path, None] = {}
    repeated = 0
    for line in list_lines(source):
        named = names.find(line)
        if len({section.place.key(its) for its in named}) > 1:
            report.leave_out(f"{source}: {line} is the name of both {named[0]} and {named[1]}")
            continue
        if not named:
            report.leave_out(f"{source}: {line} is listed in {split} but has no XML file")
        repeated += any(its in files for its in named)
        files.update(dict.fromkeys(named))
    if repeated:
        report.warn(f"{source}: {repeated} lines name an image that a line before them names already")
    return list(files)


class _ListedNames:
    """The annotation files of a section by what lists call them."""

    def __init__(self, section: Section, image_stems: set[str]) -> None:
        self._files: dict[str, list[Path]] = {}
        self._stems: dict[str, list[Path]] = {}
        for file in section.files:
            self._files.setdefault(section.place.key(file), []).append(file)
            self._stems.setdefault(file.stem, []).append(file)
        self._near = NameLookup(list(self._stems))
        self._image_stems = image_stems

    def find(self, line: str) -> list[Path]:
        """Return the files that a line names; several are an ambiguous name, or one in other capitals."""
        texts = [line]
        words = line.split()
        if len(words) > 1 and words[-1].lower().endswith(".xml"):  # image and annotation file
            texts.append(words[-1])
        forms = [form for text in texts for form in _forms(text)]
        if _CLASS_LIST.search(line) and not self._image_stems.intersection(forms):
            forms += _forms(_CLASS_LIST.sub("", line))
        for form in forms:
            if found := self._files.get(form) or self._stems.get(form):
                return found
        for form in forms:
            if near := self._near.find(form):
                return self._stems[near]
        return []


def _forms(text: str) -> Iterator[str]:
    """Yield a name of a list, also without its folders and without the suffix of an image or an XML file."""
    parts = parts_of(text)
    for start in range(len(parts)):
        ending = "/".join(parts[start:])
        yield ending
        stem, dot, suffix = ending.rpartition(".")
        if dot and (suffix.lower() == "xml" or f".{suffix.lower()}" in decodable_suffixes()):
            yield stem
