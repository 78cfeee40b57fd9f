"""The folders in which a VOC data set keeps its annotation files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from paa.data.files.folders import files_in, names_ending, subfolders
from paa.data.files.image_folders import IMAGE_FOLDERS, holds_images
from paa.data.files.paths import with_name
from paa.data.files.split_folders import split_folders
from paa.data.files.splits import is_split
from paa.data.formats.voc.lists import lists_of
from paa.data.formats.voc.xml import is_voc
from paa.data.read_report import ReadReport, first_few
from paa.errors import DataError

ANNOTATION_FOLDERS = ("annotations", "annotation", "xmls", "xml", "annots", "anns", "ann", "labels", "label", "bboxes")
IMAGE_FOLDER_NAMES = frozenset({*IMAGE_FOLDERS, "pictures", "photos", "frames"})

_LOOKED_AT = 5  # XML files of a folder that are opened to find out whether they are VOC's
_DEPTH = 3  # folders below one that is named as a split


@dataclass(frozen=True)
class Place:
    """A folder of annotation files: `annotations`, with `deep` also the folders below.

    base: the folder of the data set that the files belong to. keys: the folder that their names in lists are relative
    to. split: the name of the folder of a split in which they lie, "" for none.
    """

    base: Path
    annotations: Path
    keys: Path
    split: str = ""
    deep: bool = False

    def xml_files(self) -> list[Path]:
        """Return the annotation files, sorted."""
        files = files_in(self.annotations, recursive=self.deep)
        return [file for file in files if file.suffix.lower() == ".xml"]

    def key(self, file: Path) -> str:
        """Return the name by which lists call an annotation file."""
        return file.relative_to(self.keys).with_suffix("").as_posix()


def find_places(path: Path) -> tuple[int, list[list[Place]]]:
    """Return how far below `path` the annotations' data sets lie (0 or 1), and the places of each data set.

    Opens few files. Without VOC annotations, there are no places.
    """
    if not path.is_dir():
        return 0, []
    if own := _places_of(path, _DEPTH):
        return 0, [own]
    below = []
    for child in subfolders(path):
        if places := _places_of(child, _DEPTH):
            below.append(places)
        else:
            below.extend(places for grandchild in subfolders(child) if (places := _places_of(grandchild, _DEPTH)))
    return 1, below


def choose_places(places: Sequence[Place], report: ReadReport) -> list[Place]:
    """Return which of a data set's places are read: Annotations/ before other folders of the whole data set.

    Folders of splits are read where there is no folder of the whole data set. Raises DataError for two places that fit
    equally well.
    """
    whole = [place for place in places if not place.split]
    of_splits = [place for place in places if place.split]
    if not whole:
        return of_splits
    standard = [place for place in whole if place.annotations.name.lower() == ANNOTATION_FOLDERS[0]]
    chosen = standard if len(standard) == 1 else whole
    if len(chosen) > 1:
        raise _ambiguous(chosen[0], chosen[1])
    unread = [place for place in whole if place not in chosen]
    if of_splits and not lists_of(chosen[0].base):
        raise _ambiguous(chosen[0], of_splits[0])
    if unread + of_splits:
        others = first_few(place.annotations for place in unread + of_splits)
        report.warn(f"{chosen[0].annotations}: is read; other annotations are not: {others}")
    return chosen


def places_of_split(places: Sequence[Place], split: str) -> list[Place]:
    """Return the places of one data set in folders named as a split, those of exactly this name before others.

    Raises DataError where folders of two other words fit equally well.
    """
    exact = [place for place in places if place.split.lower() == split.lower()]
    fitting = exact or [place for place in places if place.split and is_split(place.split, split)]
    others = [place for place in fitting if place.split.lower() != fitting[0].split.lower()]
    if others:
        raise _ambiguous(fitting[0], others[0])
    return fitting


def _ambiguous(one: Place, other: Place) -> DataError:
    return DataError(
        f"{one.base}: VOC annotations both in {one.annotations} and in {other.annotations}; name one of them"
    )


def _places_of(folder: Path, depth: int) -> list[Place]:
    """Return the places of the data set whose own folder this is. depth: how many folders of splits are entered."""
    given = with_name(folder)
    if given.name.lower() in ANNOTATION_FOLDERS and _holds_voc(folder) and not holds_images(folder):
        return [Place(given.parent, given, given)]  # the folder of annotations itself was given
    subs = subfolders(folder)
    places = [p for sub in subs if sub.name.lower() in ANNOTATION_FOLDERS for p in _places_in(folder, sub)]
    if not places:
        places = [p for sub in subs if sub.name.lower() in IMAGE_FOLDER_NAMES for p in _places_in(folder, sub)]
    if _holds_voc(folder):
        places.append(Place(folder, folder, folder))
    if not places:
        of_splits = split_folders(folder)
        others = (sub for sub in subs if sub not in of_splits and not holds_images(sub))
        places = [Place(folder, sub, sub) for sub in others if _holds_voc(sub)]
    return places + (_places_in_splits(folder, depth) if depth else [])


def _places_in_splits(folder: Path, depth: int) -> list[Place]:
    """Return the places in the folders of a folder that are named as splits."""
    places: list[Place] = []
    for sub, split in split_folders(folder).items():
        inner = _places_of(sub, depth - 1)
        inner = inner or [place for child in subfolders(sub) for place in _places_of(child, 0)]
        if split != sub.name and any(lists_of(place.base) for place in inner):  # then the lists say what a split is
            continue
        places.extend(replace(place, split=split) for place in inner)
    return places


def _places_in(base: Path, folder: Path) -> list[Place]:
    """Return the places in a folder of annotations: itself, its folders named as splits, or all that it holds."""
    places = [Place(base, folder, folder)] if _holds_voc(folder) else []
    places += [Place(base, sub, folder, split) for sub, split in split_folders(folder).items() if _holds_voc(sub)]
    if not places and any(_holds_voc(sub) for sub in subfolders(folder)):
        places = [Place(base, folder, folder, deep=True)]
    return places


def _holds_voc(folder: Path) -> bool:
    """Return whether VOC annotations are directly in the folder, from a few of its XML files."""
    return any(is_voc(folder / name) for name in names_ending(folder, (".xml",))[:_LOOKED_AT])
