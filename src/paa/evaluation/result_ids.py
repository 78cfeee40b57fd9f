"""Which image and which class of a data set the results of another tool mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from paa.data.index import DatasetIndex

Id = int | str
UNKNOWN, AMBIGUOUS = -1, -2


def find_images(index: DatasetIndex, ids: Sequence[Id]) -> npt.NDArray[np.int64]:
    """Return the position (n,) of each image in the index, UNKNOWN or AMBIGUOUS.

    A number is an image's id. A text is a file name, with or without suffix, of one image only; either may have folders
    that the other one has not, and the longest path that they share counts: of two texts that would mean one image,
    images/train/1.jpg and images/val/1.jpg, only that which shares more with its path does. Where no image has such a
    name, a text is an id.
    """
    numbers = {number: position for position, number in enumerate(index.image_ids.tolist())}
    names = _names(index) if any(isinstance(given, str) for given in ids) else {}

    def find(given: Id) -> int:
        if isinstance(given, int):
            return numbers.get(given, UNKNOWN)
        for name in (given, *_endings(PurePosixPath(given.replace("\\", "/")))):
            if name in names:
                return names[name]
        return _find_number(given, numbers)

    return _without_others(index, ids, _each_once(ids, find))


def find_classes(index: DatasetIndex, ids: Sequence[Id]) -> npt.NDArray[np.int64]:
    """Return the label (n,) of each class, or UNKNOWN. A number is a class's id; a text its name, else its id."""
    numbers = {number: label for label, number in enumerate(index.category_ids.tolist())}
    names = {name: label for label, name in enumerate(index.names)}

    def find(given: Id) -> int:
        if isinstance(given, int):
            return numbers.get(given, UNKNOWN)
        return names[given] if given in names else _find_number(given, numbers)

    return _each_once(ids, find)


def _without_others(index: DatasetIndex, ids: Sequence[Id], found: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the positions, UNKNOWN for a text where another one shares more of its path with the same image."""
    texts_of: dict[int, set[str]] = {}
    for given, position in dict(zip(ids, found.tolist())).items():
        if isinstance(given, str) and position >= 0:
            texts_of.setdefault(position, set()).add(given)
    others: set[str] = set()
    for position, texts in texts_of.items():
        if len(texts) > 1:
            path = PurePosixPath(index.path(position).absolute().as_posix())
            paths = {text: PurePosixPath(text.replace("\\", "/")) for text in texts}
            shared = {text: _shared_folders(given_path, path) for text, given_path in paths.items()}
            # a text without further folders contradicts nothing
            others |= {text for text in texts if len(paths[text].parts) - 1 > shared[text] < max(shared.values())}
    if not others:
        return found
    return np.where([given in others for given in ids], UNKNOWN, found)


def _shared_folders(given: PurePosixPath, path: PurePosixPath) -> int:
    """Return how many folders two paths share, from the last one on; their file names are known to be equal."""
    pairs = zip(reversed(given.parts[:-1]), reversed(path.parts[:-1]))
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _names(index: DatasetIndex) -> dict[str, int]:
    """Return the position of each image by the endings of its path, without suffix and with it, and by all of it.

    Names with the suffix come before those without, and whole ones before endings.
    """
    paths = [PurePosixPath(bytes(name).decode("utf-8", "surrogateescape")) for name in index.file_names]
    names: dict[str, int] = {}
    for named in ([path.with_suffix("") for path in paths], paths):
        names |= _by_name(map(_endings, named)) | _by_name([str(path)] for path in named)
    return names


def _endings(path: PurePosixPath) -> list[str]:
    """Return a path, and the same without its first folders, the longest first."""
    return ["/".join(path.parts[start:]) for start in range(len(path.parts))]


def _by_name(names_of_each: Iterable[Iterable[str]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for position, names in enumerate(names_of_each):
        for name in names:
            found[name] = AMBIGUOUS if name in found else position
    return found


def _find_number(text: str, numbers: dict[int, int]) -> int:
    # int() would read 1_0, a name as 12_3 often is, as 10
    return numbers.get(int(text), UNKNOWN) if re.fullmatch(r"-?[0-9]{1,19}", text) else UNKNOWN


def _each_once(ids: Sequence[Id], find: Callable[[Id], int]) -> npt.NDArray[np.int64]:
    found = {given: find(given) for given in set(ids)}
    return np.array([found[given] for given in ids], np.int64)
