"""YOLO data sets without a YAML: darknet's and CVAT's obj.data, FiftyOne's obj.names, labelImg's classes.txt."""

from __future__ import annotations

import os
import re
from itertools import islice
from pathlib import Path

from paa.data.build import marked_encoding
from paa.data.files.folders import files_ending, find_folder, holds_images, some, subfolders
from paa.data.files.split_folders import split_folders
from paa.data.formats.yolo.description import Description, names_in
from paa.data.read_report import ReadReport
from paa.errors import DataError

NAMES_FILES = ("classes.txt", "obj.names", "_darknet.labels", "predefined_classes.txt")
IMAGE_FOLDERS = ("images", "jpegimages", "data", "obj_train_data", "image", "imgs", "img")

_LABEL_FOLDERS = ("labels", "label", *IMAGE_FOLDERS)
_LISTS = ("train", "val", "valid", "validation", "test", "images")
_ROW = re.compile(r"\ufeff?\s*\d+(\.0+)?(\s+[-+.\deE]+){4}")
_LOOKED_AT = 20  # text files of a folder that are opened to find out whether they are labels
_HEAD = 4096  # bytes of them


def data_files(folder: Path) -> list[Path]:
    """Return darknet's .data files in a folder: lines such as `names = data/obj.names`."""
    files = [file for file in files_ending(folder, (".data",)) if "names" in _settings(file)]
    usual = [file for file in files if file.stem.lower() == "obj"]
    return usual or files


def holds_plain(folder: Path) -> bool:
    """Return whether the folder holds a data set in YOLO's labels without a YAML."""
    return bool(data_files(folder)) or (bool(_names_files(folder)) and holds_labels(folder))


def holds_labels(folder: Path) -> bool:
    """Return whether there are label files in the folder or where they usually are inside it, from few of its files."""
    return any(map(_holds_rows, _label_folders(folder)))


def read_data_file(file: Path, report: ReadReport) -> Description:
    """Return what darknet's file says."""
    settings = _settings(file)
    names_file = next((place for place in _places(file.parent, settings.get("names", "")) if place.is_file()), None)
    if names_file is None:
        raise DataError(f"{file}: names {settings.get('names') or 'no file'} as its class names, which does not exist")
    names = names_in(names_file)
    if settings.get("classes", str(len(names))) != str(len(names)):
        report.warn(f"{file}: classes is {settings['classes']}, but {names_file} has {len(names)} names")
    entries = {split: [settings[split]] for split in ("train", "valid", "val", "test") if settings.get(split)}
    return Description(file, file.parent, (file.parent,), tuple(names), entries)


def read_plain(folder: Path, images: Path | None) -> Description:
    """Return what a folder with class names and labels is; images: the folder of its images, if that was named.

    Raises DataError where two readings fit equally well.
    """
    files = _names_files(folder)
    names = names_in(files[0])
    for other in files[1:]:
        if names_in(other) != names:
            raise DataError(f"{folder}: different class names in {files[0]} and {other}")
    lists = {file.stem.lower(): file for file in files_ending(folder, (f"{name}.txt" for name in _LISTS))}
    entries = {name: [str(lists[name].absolute())] for name in _LISTS if name in lists}
    if "images" in entries:  # FiftyOne's list of everything
        entries.setdefault("train", entries.pop("images"))
    return Description(files[0], folder, (folder,), tuple(names), entries or _folders(folder, images))


def _folders(folder: Path, named: Path | None) -> dict[str, list[str]]:
    """Return the splits by the names of folders, or everything as `train`."""
    if named is not None:
        return _by_split(named) or {"train": [str(named.absolute())]}
    images = [child for name in IMAGE_FOLDERS if (child := find_folder(folder, (name,)))]
    for parent in (folder, *images):
        if splits := _by_split(parent):
            return splits
    places = [place for place in (*images, folder) if holds_images(place) or any(map(holds_images, subfolders(place)))]
    direct = [place for place in places if place != folder or holds_images(folder)]
    if len(direct) > 1:
        raise DataError(f"{folder}: images in several folders: {some(direct)}; choose: --images DIR")
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


def _holds_rows(folder: Path) -> bool:
    """Return whether one of the first text files begins with a row of a YOLO label."""
    try:
        with os.scandir(folder) as entries:
            texts = (e.name for e in entries if e.name.lower().endswith(".txt") and not e.name.startswith("."))
            return any(_is_label(folder / name) for name in islice(texts, _LOOKED_AT))
    except OSError:
        return False


def _is_label(file: Path) -> bool:
    return _ROW.match(_head(file)) is not None


def _settings(file: Path) -> dict[str, str]:
    """Return the `key = value` lines at the beginning of darknet's file; none for one that is no text."""
    lines = [line for line in _head(file).splitlines() if not line.lstrip().startswith("#")]
    pairs = (line.partition("=") for line in lines)
    return {key.strip().lower(): value.strip() for key, equals, value in pairs if equals and value.strip()}


def _head(file: Path) -> str:
    """Return the beginning of a file as text, "" for what is none."""
    try:
        with file.open("rb") as stream:
            content = stream.read(_HEAD)
        return content.decode(marked_encoding(content) or "utf-8", "ignore")
    except OSError:
        return ""


def _places(base: Path, text: str) -> list[Path]:
    """Return where a file of darknet's may be: its paths are relative to the program's folder."""
    parts = text.replace("\\", "/").split("/")
    return [base / "/".join(parts[start:]) for start in range(len(parts))] if text else []
