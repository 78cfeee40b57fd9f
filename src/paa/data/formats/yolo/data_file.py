"""obj.data: darknet's and CVAT's description of a YOLO data set, lines such as `names = data/obj.names`."""

from __future__ import annotations

from pathlib import Path

from paa.data.files.boundary import is_inside
from paa.data.files.folders import files_ending
from paa.data.files.paths import path_exists
from paa.data.files.text import marked_encoding, read_head
from paa.data.formats.yolo.description import Description, read_names
from paa.data.read_report import ReadReport
from paa.errors import DataError


def data_files(folder: Path) -> list[Path]:
    """Return darknet's .data files in a folder, obj.data before others."""
    files = [file for file in files_ending(folder, (".data",)) if "names" in _settings(file)]
    usual = [file for file in files if file.stem.lower() == "obj"]
    return usual or files


def read_data_file(file: Path, report: ReadReport) -> Description:
    """Return the description in darknet's file. Raises DataError."""
    settings = _settings(file)
    places = _places(file.parent, settings.get("names", ""))
    names_file = next((place for place in places if path_exists(place) and place.is_file() and is_inside(place)), None)
    if names_file is None:
        named = f"the file of class names (names = {settings.get('names', '')})"
        raise DataError(f"{file}: {named} does not exist in the data set")
    names = read_names(names_file)
    if settings.get("classes", str(len(names))) != str(len(names)):
        report.warn(f"{file}: classes is {settings['classes']}, but {names_file} has {len(names)} names")
    entries = {split: [settings[split]] for split in ("train", "valid", "val", "test") if settings.get(split)}
    return Description(file, file.parent, (file.parent,), tuple(names), entries)


def _settings(file: Path) -> dict[str, str]:
    """Return the `key = value` lines at the beginning of a file; none of a file that is no text."""
    head = read_head(file)
    lines = head.decode(marked_encoding(head) or "utf-8", "ignore").splitlines()
    pairs = (line.partition("=") for line in lines if not line.lstrip().startswith("#"))
    return {key.strip().lower(): value.strip() for key, equals, value in pairs if equals and value.strip()}


def _places(base: Path, text: str) -> list[Path]:
    """Return where a file may be: at any ending of its path, which is relative to the folder of darknet's program."""
    parts = text.replace("\\", "/").split("/")
    return [base / "/".join(parts[start:]) for start in range(len(parts))] if text else []
