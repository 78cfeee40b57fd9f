"""The annotation files of a VOC data set by the place they lie in, and which of them belong to a split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from paa.data.files.paths import with_name
from paa.data.files.split_folders import missing_split
from paa.data.files.splits import is_split, split_names
from paa.data.formats.interface import ReadRequest
from paa.data.formats.voc.image_folder import ImageFolder, find_image_folder
from paa.data.formats.voc.lists import list_for, lists_of, main_lists
from paa.data.formats.voc.places import Place, choose_places, places_of_split
from paa.data.formats.voc.xml import Annotation, read_annotation
from paa.data.read_report import ReadReport
from paa.errors import DataError


@dataclass(frozen=True)
class Section:
    """The annotation files of one place.

    list: the list of the split that is read, None where there is none and all files count. splits: the names of the
    splits that the place has. wanted: whether files of the place belong to the split that is read. images: the folder
    of their images, without images if none is wanted. image_splits: the names of the image folders that make up the
    split, where neither lists nor folders of annotations decide what a split is.
    """

    place: Place
    files: list[Path]
    list: Path | None
    splits: Sequence[str]
    wanted: bool
    images: ImageFolder
    image_splits: Sequence[str] = ()
    _contents: dict[Path, Annotation | DataError | None] = field(default_factory=dict)

    def content(self, file: Path) -> Annotation | DataError | None:
        """Return what a file holds, None if it is no VOC annotation, the error if it is broken; read only once."""
        if file not in self._contents:
            try:
                self._contents[file] = read_annotation(file)
            except DataError as error:
                self._contents[file] = error
        return self._contents[file]

    def readable(self) -> Iterator[Annotation]:
        """Yield the content of all files that can be read."""
        contents = map(self.content, self.files)
        return (content for content in contents if isinstance(content, Annotation))

    def is_in_split(self, image: Path) -> bool:
        """Return whether an image of the section's image folder belongs to the split."""
        return not self.image_splits or self.images.splits[image] in self.image_splits


def sections_of(group: Sequence[Place], request: ReadRequest, report: ReadReport) -> list[Section]:
    """Return the sections of a data set, of all its splits."""
    places = choose_places(group, report)
    of_split = places_of_split(places, request.split)
    return [_section(place, place in of_split, request) for place in places]


def wanted_sections(sections: Sequence[Section], request: ReadRequest, report: ReadReport) -> list[Section]:
    """Return the sections that belong to the split. Raises DataError if there are none."""
    wanted = [section for section in sections if section.wanted]
    found = list(dict.fromkeys(name for section in sections for name in section.splits))
    if not wanted:
        raise missing_split(
            request.path, request.split, found or ["train (all of it, without lists or folders of splits)"]
        )
    for section in wanted:
        if found and not section.splits:
            report.warn(f"{section.place.annotations}: has no lists of splits, so all of it is in {request.split!r}")
    return wanted


def _section(place: Place, in_folder_of_split: bool, request: ReadRequest) -> Section:
    """Return the section of a place: a folder named as a split decides before lists, lists before folders of images."""
    files, lists = place.xml_files(), lists_of(place.base)
    listed = list_for(lists, request.split)
    if place.split or lists:
        wanted = in_folder_of_split if place.split else listed is not None
        splits = [place.split] if place.split else main_lists(lists)
        nothing = ImageFolder(place.base, [], {}, [])
        images = find_image_folder(place, map(place.key, files), request.images) if wanted else nothing
        if place.split:
            images = images.without_other_splits(place.split)
        return Section(place, files, listed, splits, wanted, images)
    images = find_image_folder(place, map(place.key, files), request.images)
    splits = sorted(set(images.splits.values()) - {""})
    same = [name for name in splits if name.lower() == request.split.lower()]
    image_splits = same or [name for name in splits if is_split(name, request.split)]
    wanted = bool(image_splits) if splits else _is_all_of_split(place, request.split)
    return Section(place, files, None, splits, wanted, images, image_splits)


def _is_all_of_split(place: Place, split: str) -> bool:
    """Return whether all of a data set without splits is this split: train, or the one its folder is named as."""
    return split in split_names("train") or is_split(with_name(place.base).name, split)
