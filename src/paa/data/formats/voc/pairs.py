"""The pairs of annotation file and image that a section of a VOC data set has in a split."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from paa.data.files.boundary import outside, refused_in
from paa.data.files.image_folders import leave_out_links
from paa.data.files.paths import path_parts
from paa.data.formats.voc.image_finder import ImageFinder, narrowed
from paa.data.formats.voc.lists import ListedNames, list_lines
from paa.data.formats.voc.sections import Section
from paa.data.formats.voc.xml import Annotation
from paa.data.read_report import ReadReport
from paa.errors import DataError

_LONGEST_SHOWN = 200  # characters of a line in a message


class Pair(NamedTuple):
    """An annotation file's content and its image."""

    annotation: Annotation
    image: Path


def read_pairs(section: Section, split: str, stems: set[str], report: ReadReport) -> list[Pair]:
    """Return the pairs of a section in the split, in the order of its list, else of its files.

    stems: the names of all annotation files, also of other sections; an image of another name has no annotations. An
    annotation file without an image, or with the image of another file, is left out.
    """
    for remark in section.images.remarks:
        report.warn(remark)
    leave_out_links(section.images.folder, report, recursive=section.images.deep)
    place = section.place
    for link in refused_in(place.annotations, recursive=place.deep):
        if link.lower().endswith(".xml"):
            report.leave_out(f"{link} {outside(link)}")
    files = section.files if section.list is None else _listed(section, section.list, split, report)
    pairing = _Pairing(section, report)
    pairs = pairing.pairs(files)
    by_image: dict[Path, list[Annotation]] = {}
    for annotation, image in pairs:
        by_image.setdefault(image, []).append(annotation)
    for image, sharing in by_image.items():
        if len(sharing) > 1:
            both = " and ".join(str(annotation.file) for annotation in sharing[:2])
            report.leave_out(f"{image}: is the image of both {both}")
    if section.list is None:
        paired = by_image.keys() | pairing.owners.keys()
        _warn_of_unlabelled(section, [image for image in section.images.files if image not in paired], stems, report)
    return [pair for pair in pairs if len(by_image[pair.image]) == 1]


class _Pairing:
    """Finds the image of each annotation file of a section: by the file's name, else by the file's content."""

    def __init__(self, section: Section, report: ReadReport) -> None:
        self._section = section
        self._report = report
        self._finder = ImageFinder(section.images)

    @cached_property
    def owners(self) -> dict[Path, Path]:
        """For each image that an annotation file is named after, that file."""
        section = self._section
        return {image: file for file in section.files for image in self._finder.by_key(section.place.key(file))}

    def pairs(self, files: Sequence[Path]) -> list[Pair]:
        """Return the pairs in the split; a file that has no image, or is no annotation, is left out."""
        section = self._section
        pairs: list[Pair] = []
        strangers: list[Path] = []
        for file in files:
            named_after = self._finder.by_key(section.place.key(file))
            if named_after and not any(map(section.is_in_split, named_after)):
                continue
            content = section.content(file)
            if isinstance(content, DataError):
                self._report.leave_out(str(content))
            elif content is None:
                strangers.append(file)
                if section.list is not None:
                    problem = "is listed, but is no VOC annotation (its root is not <annotation>)"
                    self._report.leave_out(f"{file}: {problem}")
            elif (image := self._image_of(content, named_after)) is not None and section.is_in_split(image):
                pairs.append(Pair(content, image))
        if strangers and section.list is None:
            self._report.warn(
                f"{section.place.annotations}: {len(strangers)} XML files are no VOC annotations, and were not read; "
                f"the first is {strangers[0].name}"
            )
        return pairs

    def _image_of(self, annotation: Annotation, named_after: Sequence[Path]) -> Path | None:
        """Return the image of an annotation file; one without an image, or with several, is left out."""
        images = narrowed(named_after, annotation) if named_after else self._finder.by_content(annotation)
        if not named_after and images and (owner := self.owners.get(images[0])) is not None:
            self._report.leave_out(f"{annotation.file}: names {images[0]} as its image, which belongs to {owner}")
            return None
        if len(images) != 1:
            self._report.leave_out(f"{annotation.file}: {_no_image(self._section, annotation, images)}")
            return None
        return images[0]


def _no_image(section: Section, annotation: Annotation, images: Sequence[Path]) -> str:
    if images:
        return f"has two images: {images[0]} and {images[1]}"
    name = (path_parts(annotation.filename or annotation.path) or [""])[-1]
    others = f" and no {name}" if name else ""
    return f"has no image: there is no {annotation.file.stem}.*{others} in {section.images.folder}"


def _warn_of_unlabelled(section: Section, images: Sequence[Path], stems: set[str], report: ReadReport) -> None:
    without = [image for image in images if image.stem not in stems and section.is_in_split(image)]
    if without:
        total = sum(map(section.is_in_split, section.images.files))
        report.warn(
            f"{section.images.folder}: {len(without)} of {total} images have no annotation file, and are not read; "
            f"the first is {without[0].name}",
            lambda: (f"{image}: has no annotation file, and is not read" for image in without),
        )


def _shown(line: str) -> str:
    """Return a line of a list as a message shows it; it may be long where the file is no list."""
    return line if len(line) <= _LONGEST_SHOWN else f"{line[:_LONGEST_SHOWN]}..."


def _listed(section: Section, source: Path, split: str, report: ReadReport) -> Sequence[Path]:
    """Return the annotation files that a list names, in its order, each once."""
    place = section.place
    names = ListedNames({file: place.key(file) for file in section.files}, {f.stem for f in section.images.files})
    files: dict[Path, None] = {}
    repeated = 0
    for line in list_lines(source):
        named = names.find(line)
        if len({place.key(file) for file in named}) > 1:
            report.leave_out(f"{source}: {_shown(line)} is the name of both {named[0]} and {named[1]}")
            continue
        if not named:
            report.leave_out(f"{source}: {_shown(line)} is listed in {split} but has no XML file")
        repeated += any(file in files for file in named)
        files.update(dict.fromkeys(named))
    if repeated:
        report.warn(f"{source}: {repeated} lines name an image that an earlier line names already")
    return list(files)
