"""data.yaml: class names, and where the images of each split are."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from paa.data.files.boundary import is_inside, outside
from paa.data.files.folders import files_ending
from paa.data.files.paths import path_exists
from paa.data.files.splits import SPLIT_NAMES
from paa.data.files.text import read_text
from paa.data.formats.yolo.description import Description, read_names
from paa.data.read_report import ReadReport
from paa.errors import DataError

SUFFIXES = (".yaml", ".yml")

_ABOVE = 2  # folders above a description that its `path` may be relative to
_USUAL = ("data", "dataset")  # names of the file, without suffix
_NOTHING = frozenset({"", "null", "~", "none"})  # as text, which is how all values are loaded
_NAMES_KEY = re.compile(r"""^[{\s]*["']?names["']?\s*:""", re.MULTILINE)


def yaml_files(folder: Path) -> list[Path]:
    """Return the YAML files of a folder that describe a data set, those of the usual names where there are any.

    A YAML file of another kind, such as the settings of a training run, does not count.
    """
    found = [file for file in files_ending(folder, SUFFIXES) if _describes(file)]
    return [file for file in found if file.stem.lower() in _USUAL] or found


def wrong_yaml_files(folder: Path) -> list[Path]:
    """Return the files of a usual name that are broken, or say where images are and lack names."""
    return [file for file in files_ending(folder, SUFFIXES) if file.stem.lower() in _USUAL and _is_incomplete(file)]


def read_yaml(file: Path, above: Path, report: ReadReport) -> Description:
    """Return the description in a YAML file. above: the data set's folder, if the file lies in a folder inside it."""
    data = _load(file)
    if not isinstance(data, dict) or not any(key in data for key in (*SPLIT_NAMES, "names", "path")):
        raise DataError(f"{file}: expected keys such as train, val and names")
    path = "" if _is_nothing(data.get("path")) else data["path"]
    if not isinstance(path, str):
        raise DataError(f"{file}: 'path' must be a folder")
    path = path.strip()
    entries = {key: _entries(file, key, data[key]) for key in data if key not in ("names", "path", "nc")}
    names = _names(file, data)
    if "nc" in data and not _is_nothing(data["nc"]) and str(data["nc"]) != str(len(names)):
        report.warn(f"{file}: nc is {data['nc']}, but there are {len(names)} names; the names are used")
    return Description(
        source=file,
        root=_root(file, path, entries, report),
        bases=tuple(dict.fromkeys([file.parent, above])),
        names=tuple(names),
        entries=entries,
        path=path,
        keypoints=_keypoints(file, data),
    )


def _load(file: Path) -> Any:
    """Return the content with every value as text: `no` is a class, not a truth value. Raises DataError."""
    try:
        return _parse(read_text(file))
    except yaml.YAMLError as error:
        raise DataError(f"{file}: broken YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise DataError(f"{file}: broken YAML: lists too deep inside each other") from error


@lru_cache(maxsize=1)
def _parse(text: str) -> Any:
    """Return the content of a YAML file, which is asked for more than once while a data set is recognised."""
    return yaml.load(text, yaml.BaseLoader)


def _describes(file: Path) -> bool:
    """Return whether the file has names and says where images are."""
    try:
        if not _NAMES_KEY.search(read_text(file)):
            return False
        data = _load(file)
    except DataError:
        return False
    return isinstance(data, dict) and "names" in data and (_has_split(data) or not _is_nothing(data.get("path")))


def _is_incomplete(file: Path) -> bool:
    """Return whether a file of a usual name is broken, or says where images are but lacks names."""
    try:
        data = _load(file)
    except DataError:
        return True
    return isinstance(data, dict) and _has_split(data)


def _has_split(data: dict[str, Any]) -> bool:
    return any(isinstance(data.get(key), (str, list)) for key in SPLIT_NAMES)


def _is_nothing(value: object) -> bool:
    return value is None or value == [] or (isinstance(value, str) and value.strip().lower() in _NOTHING)


def _root(file: Path, path: str, entries: dict[str, list[str]], report: ReadReport) -> Path:
    """Return the folder that `path` stands for, the file's own if there is none.

    The path is relative to the file. Where neither the path nor an entry exists beside the file, the path may be
    relative to a folder not far above, such as the program's or that of all data sets.
    """
    text = path.replace("\\", "/")
    if path_exists(file.parent / text) and (file.parent / text).is_dir():
        return _allowed(file, path, file.parent / text)
    if any(path_exists(file.parent / item) for key in SPLIT_NAMES for item in entries.get(key, [])):
        return file.parent
    for base in list(file.absolute().parent.parents)[:_ABOVE]:
        if path_exists(root := base / text) and root.is_dir():
            _allowed(file, path, root)
            if not root.samefile(file.parent):
                report.warn(f"{file}: path {path} does not exist beside the file; {root} is read instead")
            return root
    return file.parent


def _allowed(file: Path, text: str, place: Path) -> Path:
    """Return the place that a text in the file stands for. Raises DataError for one that may not be read."""
    if not is_inside(place):
        raise DataError(f"{file}: {text} {outside(place)}")
    return place


def _names(file: Path, data: dict[str, Any]) -> list[str]:
    """Return the class names: a list, a mapping from 0, 1, ..., or the name of a file with one on each line."""
    names = data.get("names")
    if isinstance(names, str) and path_exists(file.parent / names) and (file.parent / names).is_file():
        return read_names(_allowed(file, names, file.parent / names))
    if isinstance(names, dict):
        by_number = {key.strip(): name for key, name in names.items() if isinstance(key, str)}
        numbers = [str(i) for i in range(len(names))]
        names = [by_number[i] for i in numbers] if set(by_number) == set(numbers) else None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise DataError(f"{file}: 'names' must be a list of class names, or a mapping from 0, 1, ... to them")
    return names


def _entries(file: Path, key: str, value: Any) -> list[str]:
    """Return the folders, lists and images that a key names, none where its value is of another kind."""
    values = value if isinstance(value, list) else [value]
    texts = [item.strip() for item in values if isinstance(item, str) and not _is_nothing(item)]
    if key in SPLIT_NAMES and len(texts) < len([item for item in values if not _is_nothing(item)]):
        raise DataError(f"{file}: {key!r} must be a folder, a list of images, or several of them")
    return texts if not isinstance(value, dict) else []


def _keypoints(file: Path, data: dict[str, Any]) -> int:
    """Return how many numbers of keypoints follow the box in a row. Raises DataError."""
    shape = data.get("kpt_shape")
    if _is_nothing(shape):
        if not _is_nothing(data.get("flip_idx")):  # without the shape, keypoints would be taken for polygons
            raise DataError(f"{file}: has 'flip_idx', as data sets of keypoints have, but no 'kpt_shape'")
        return 0
    if not isinstance(shape, list) or len(shape) != 2 or not all(str(side).isdecimal() for side in shape):
        raise DataError(f"{file}: 'kpt_shape' must be [keypoints, 2 or 3], not {shape}")
    return int(shape[0]) * int(shape[1])
