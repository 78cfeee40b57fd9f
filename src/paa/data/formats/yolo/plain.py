"""YOLO data sets without a description: class names in a file, as labelImg and FiftyOne write them, and labels."""

from __future__ import annotations

import re
from pathlib import Path

from paa.data.files.folders import files_ending, find_folder, names_ending, subfolders
from paa.data.files.image_folders import IMAGE_FOLDERS, holds_images
from paa.data.files.split_folders import split_folders
from paa.data.files.text import marked_encoding, read_head
from paa.data.formats.yolo.description import Description, read_names
from paa.data.read_report import first_few
from paa.errors import DataError

NAMES_FILES = ("classes.txt", "obj.names", "_darknet.labels", "predefined_classes.txt")

_IMAGE_FOLDERS = (*IMAGE_FOLDERS, "obj_train_data")
_LABEL_FOLDERS = ("labels", "label", *_IMAGE_FOLDERS)
_LISTS = ("train", "val", "valid", "validation", "test", "images")
_ROW = re.compile(r"\ufeff?\s*\d+(\.0+)?(\s+[-+.\deE]+){4}")
_LOOKED_AT = 20  # text files of a folder that are opened to find out whether they are labels


def holds_plain(folder: Path) -> bool:
    """Return whether the folder holds class names and labels."""
    return bool(_names_files(folder)) and holds_labels(folder)


def holds_labels(folder: Path) -> bool:
    """Return whether label files are in the folder, or in a usual folder inside it; opens few files."""
    texts = (place / name for place in _label_folders(folder) for name in names_ending(place, (".txt",))[:_LOOKED_AT])
    return any(map(_is_label, texts))


def read_plain(folder: Path, images: Path | None) -> Description:
    """Return the description of a folder with class names and labels. images: the folder of its images, if named.

    Raises DataError for names that contradict each other, and for several folders of images.
    """
    files = _names_files(folder)
    names = read_names(files[0])
    for other in files[1:]:
        if read_names(other) != names:
            raise DataError(f"{folder}: different class names in {files[0]} and {other}")
    lists = {file.stem.lower(): file for file in files_ending(folder, (f"{name}.txt" for name in _LISTS))}
    entries = {name: [str(lists[name].absolute())] for name in _LISTS if name in lists}
    if "images" in entries:  # FiftyOne's list of everything
        entries.setdefault("train", entries.pop("images"))
    return Description(files[0], folder, (folder,), tuple(names), entries or _image_entries(folder, images))


def _image_entries(folder: Path, named: Path | None) -> dict[str, list[str]]:
    """Return the folders of images by the splits that they are named as, else one folder as `train`."""
    if named is not None:
        return _by_split(named) or {"train": [str(named.absolute())]}
    images = [child for name in _IMAGE_FOLDERS if (child := find_folder(folder, (name,)))]
    for parent in (folder, *images):
        if splits := _by_split(parent):
            return splits
    places = [place for place in (*images, folder) if holds_images(place) or any(map(holds_images, subfolders(place)))]
    direct = [place for place in places if place != folder or holds_images(folder)]
    if len(direct) > 1:
        raise DataError(f"{folder}: images in several folders: {first_few(direct)}; choose: --images DIR")
    return {"train": [str((direct or [folder])[0].absolute())]}


def _by_split(parent: Path) -> dict[str, list[str]]:
    entries: dict[str, list[str]] = {}
    for folder, split in split_folders(parent).items():
        entries.setdefault(split, []).append(str(folder.absolute()))
    return entries


def _names_files(folder: Path) -> list[Path]:
    """Return the files of class names: of the folder itself, else of those inside it in which labels may be."""
    for places in ([folder], _label_folders(folder)[1:]):
        found = []
        for place in places:
            by_name = {file.name.lower(): file for file in files_ending(place, (*NAMES_FILES, ".names"))}
            found += [by_name[name] for name in NAMES_FILES if name in by_name]
            found += [file for name, file in by_name.items() if name.endswith(".names") and file not in found]
        if found:
            return found
    return []


def _label_folders(folder: Path) -> list[Path]:
    """Return the folders in which label files may be, the folder itself first."""
    folders = [folder]
    folders += [child for child in subfolders(folder) if child.name.lower() in _LABEL_FOLDERS]
    folders += split_folders(folder)
    for child in folders[1:]:
        folders += [c for c in subfolders(child) if c.name.lower() in _LABEL_FOLDERS or c in split_folders(child)]
    return folders


def _is_label(file: Path) -> bool:
    """Return whether a text file begins with a row of a YOLO label."""
    head = read_head(file)
    return _ROW.match(head.decode(marked_encoding(head) or "utf-8", "ignore")) is not None
