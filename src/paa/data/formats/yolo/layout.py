"""Which description of a YOLO data set is meant."""

from __future__ import annotations

from pathlib import Path

from paa.data.files.folders import some, subfolders
from paa.data.formats.yolo.description import SUFFIXES, Description, read_yaml, wrong_yaml_files, yaml_files
from paa.data.formats.yolo.plain import data_files, holds_labels, holds_plain, read_data_file, read_plain
from paa.data.read_report import ReadReport
from paa.errors import DataError


def level(path: Path) -> int | None:
    """Return how far below `path` a YOLO data set lies: 0 for its own, 1 for a folder's inside, None without any."""
    if path.is_file():
        return 0 if path.suffix.lower() in (*SUFFIXES, ".data") else None
    if _describes(path):
        return 0
    return 1 if any(map(_describes, subfolders(path))) else None


def find_description(path: Path, images: Path | None, report: ReadReport) -> Description:
    """Return what describes the data set at `path`: the file, one in the folder, or one in a folder inside it.

    images: the folder of its images, if that was named. Raises DataError where there is none, or two fit equally well.
    """
    if path.is_file():
        return read_data_file(path, report) if path.suffix.lower() == ".data" else read_yaml(path, path.parent, report)
    folders = [path] if _describes(path) else [child for child in subfolders(path) if _describes(child)]
    if len(folders) > 1:
        raise DataError(f"{path}: several YOLO data sets: {some(folders)}; give the one wanted with --data")
    if not folders:
        raise DataError(
            f"{path}: no data.yaml with keys such as train, val and names, nor obj.data or classes.txt with label files"
        )
    descriptions = yaml_files(folders[0]) or wrong_yaml_files(folders[0]) or data_files(folders[0])
    if len(descriptions) > 1:
        named = some(descriptions)
        raise DataError(f"{path}: several files describe a data set: {named}; give the one wanted with --data")
    if not descriptions:
        return read_plain(folders[0], images)
    file = descriptions[0]
    return read_yaml(file, path, report) if file.suffix.lower() in SUFFIXES else read_data_file(file, report)


def _describes(folder: Path) -> bool:
    if yaml_files(folder) or holds_plain(folder):
        return True
    return bool(wrong_yaml_files(folder)) and holds_labels(folder)  # else it may be anything's
