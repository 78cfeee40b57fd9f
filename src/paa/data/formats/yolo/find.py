"""Finding the description of a YOLO data set."""

from __future__ import annotations

from pathlib import Path

from paa.data.files.folders import subfolders
from paa.data.formats.yolo.data_file import data_files, read_data_file
from paa.data.formats.yolo.data_yaml import SUFFIXES, read_yaml, wrong_yaml_files, yaml_files
from paa.data.formats.yolo.description import Description
from paa.data.formats.yolo.plain import holds_labels, holds_plain, read_plain
from paa.data.read_report import ReadReport, first_few
from paa.errors import DataError


def level(path: Path) -> int | None:
    """Return how far below `path` a YOLO data set lies: 0 at the path itself, 1 in a folder inside, else None."""
    if path.is_file():
        return 0 if path.suffix.lower() in (*SUFFIXES, ".data") else None
    if _is_described(path):
        return 0
    return 1 if any(map(_is_described, subfolders(path))) else None


def find_description(path: Path, images: Path | None, report: ReadReport) -> Description:
    """Return the description of the data set at `path`: the file, one in the folder, or one in a folder inside it.

    images: the folder of its images, if a person named it. Raises DataError if no description or several fit.
    """
    if path.is_file():
        return _read(path, path.parent, report)
    folders = [path] if _is_described(path) else [child for child in subfolders(path) if _is_described(child)]
    if len(folders) > 1:
        raise DataError(f"{path}: several YOLO data sets: {first_few(folders)}; name one of them")
    if not folders:
        raise DataError(
            f"{path}: no data.yaml with keys such as train, val and names, nor obj.data or classes.txt with label files"
        )
    files = yaml_files(folders[0]) or wrong_yaml_files(folders[0]) or data_files(folders[0])
    if len(files) > 1:
        named = first_few(files)
        raise DataError(f"{path}: several files describe a data set: {named}; name one of them")
    return _read(files[0], path, report) if files else read_plain(folders[0], images)


def _read(file: Path, above: Path, report: ReadReport) -> Description:
    return read_data_file(file, report) if file.suffix.lower() == ".data" else read_yaml(file, above, report)


def _is_described(folder: Path) -> bool:
    if yaml_files(folder) or data_files(folder) or holds_plain(folder):
        return True
    return bool(wrong_yaml_files(folder)) and holds_labels(folder)  # without labels the file may belong to anything
