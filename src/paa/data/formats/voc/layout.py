"""Where a VOC data set keeps what: folders of annotations, their lists of splits."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from paa.data.build import read_text
from paa.data.files.folders import files_ending, files_in, find_folder, holds_images, some, subfolders, with_name
from paa.data.files.split_folders import is_split, split_folders, split_of
from paa.data.files.splits import SPLIT_NAMES, split_names
from paa.data.formats.voc.xml import is_voc
from paa.data.read_report import ReadReport
from paa.errors import DataError

ANNOTATION_FOLDERS = ("annotations", "annotation", "xmls", "xml", "annots", "anns", "ann", "labels", "label", "bboxes")
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "pictures", "photos", "data", "frames")
STANDARD_IMAGES = "jpegimages"

_LOOKED_AT = 5  # XML files of a folder that are opened to find out whether they are VOC's
_DEPTH = 3  # folders below one that is named as a split
_LISTS = (*SPLIT_NAMES, "trainval")


@dataclass(frozen=True)
class Place:
    """A folder of annotation files.

    base: the folder of the data set they belong to. keys: the folder that their names in lists are relative to.
    split: the name of the split's folder that they lie in, "" if they lie in none. deep: they lie in folders below.
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
    """Return how far below `path` the annotations' data sets lie (0 or 1), and the places of each of these.

    Few files are opened. No places are found where there are no VOC annotations.
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


def settle(places: Sequence[Place], report: ReadReport) -> list[Place]:
    """Return which of a data set's places are read. Raises DataError where two fit equally well."""
    whole = [place for place in places if not place.split]
    apart = [place for place in places if place.split]
    if not whole:
        return apart
    standard = [place for place in whole if place.annotations.name.lower() == ANNOTATION_FOLDERS[0]]
    chosen = standard if len(standard) == 1 else whole
    if len(chosen) > 1:
        raise _ambiguous(chosen[0], chosen[1])
    unread = [place for place in whole if place not in chosen]
    if apart and not lists_of(chosen[0].base):
        raise _ambiguous(chosen[0], apart[0])
    if unread + apart:
        report.warn(
            f"{chosen[0].annotations}: is read; there are other annotations, which are not, in "
            f"{some(place.annotations for place in unread + apart)}"
        )
    return chosen


def lists_of(base: Path) -> dict[str, Path]:
    """Return the lists of splits by their names in lower case: of ImageSets/Main, ImageSets or the folder itself.

    A tool's lists of everything ("default"), and of a class in it, are none.
    """
    sets = find_folder(base, ("ImageSets",))
    main = find_folder(sets, ("Main",)) if sets else None
    for folder in (main, sets):
        lists = {file.stem.lower(): file for file in files_ending(folder, (".txt",))} if folder else {}
        if lists:
            return {} if all(name == "default" or name.endswith("_default") for name in lists) else lists
    endings = [f"{name}{more}.txt" for name in _LISTS for more in ("", "_list")]
    own = {file.name.lower(): file for file in files_ending(base, endings)}
    return {name.removesuffix(".txt").removesuffix("_list"): file for name, file in own.items() if name in endings}


def list_for(lists: dict[str, Path], split: str) -> Path | None:
    """Return the list of a split."""
    return next((lists[name] for name in split_names(split.lower()) if name in lists), None)


def main_lists(lists: Iterable[str]) -> list[str]:
    """Return the names of lists, sorted, without those of one class in a split ("cat_train" beside "train")."""
    names = set(lists)
    return sorted(name for name in names if name.rpartition("_")[2] not in names - {name})


def list_lines(file: Path) -> list[str]:
    """Return the lines of a list that are not empty."""
    return [line.strip() for line in read_text(file).splitlines() if line.strip()]


def holds_voc(folder: Path) -> bool:
    """Return whether there are VOC annotations directly in the folder, from a few of its XML files."""
    try:
        with os.scandir(folder) as entries:
            xml = (e.name for e in entries if e.name.lower().endswith(".xml") and not e.name.startswith("."))
            return any(is_voc(folder / name) for name in islice(xml, _LOOKED_AT))
    except OSError:
        return False


def chosen_split(places: Sequence[Place], split: str) -> list[Place]:
    """Return the places of one data set in folders named as this split, its very name before another in use for it.

    Raises DataError where folders of two such names fit equally well.
    """
    exact = [place for place in places if place.split.lower() == split.lower()]
    fitting = exact or [place for place in places if place.split and is_split(place.split, split)]
    others = [place for place in fitting if place.split.lower() != fitting[0].split.lower()]
    if others:
        raise _ambiguous(fitting[0], others[0])
    return fitting


def _ambiguous(one: Place, other: Place) -> DataError:
    return DataError(
        f"{one.base}: VOC annotations both in {one.annotations} and in {other.annotations}; "
        "give the folder of those wanted with --data"
    )


def _places_of(folder: Path, depth: int) -> list[Place]:
    """Return the places of the data set whose own folder this is."""
    given = with_name(folder)
    if given.name.lower() in ANNOTATION_FOLDERS and holds_voc(folder) and not holds_images(folder):
        return [Place(given.parent, given, given)]  # the folder of annotations itself was given
    subs = subfolders(folder)
    places = [p for sub in subs if sub.name.lower() in ANNOTATION_FOLDERS for p in _places_in(folder, sub)]
    if not places:
        with_images = (STANDARD_IMAGES, *IMAGE_FOLDERS)
        places = [p for sub in subs if sub.name.lower() in with_images for p in _places_in(folder, sub)]
    if holds_voc(folder):
        places.append(Place(folder, folder, folder))
    if not places:
        others = (sub for sub in subs if not split_of(sub.name) and not holds_images(sub))
        places = [Place(folder, sub, sub) for sub in others if holds_voc(sub)]
    for sub, split in split_folders(folder).items() if depth else ():
        inner = _places_of(sub, depth - 1)
        inner = inner or [place for child in subfolders(sub) for place in _places_of(child, 0)]
        if split != sub.name and any(lists_of(place.base) for place in inner):  # then these say what a split is
            continue
        places.extend(replace(place, split=split) for place in inner)
    return places


def _places_in(base: Path, folder: Path) -> list[Place]:
    """Return the places in a folder of annotations: itself, its folders named as splits, or all that it holds."""
    places = [Place(base, folder, folder)] if holds_voc(folder) else []
    places += [Place(base, sub, folder, split) for sub, split in split_folders(folder).items() if holds_voc(sub)]
    if not places and any(holds_voc(sub) for sub in subfolders(folder)):
        places = [Place(base, folder, folder, deep=True)]
    return places
