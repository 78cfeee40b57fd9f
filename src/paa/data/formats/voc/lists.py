"""VOC's lists of splits: text files with a name on each line, in ImageSets/Main or near the annotations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from paa.data.files.folders import files_ending, find_folder
from paa.data.files.lookup import NameLookup
from paa.data.files.paths import path_parts
from paa.data.files.splits import SPLIT_NAMES, split_names
from paa.data.files.text import read_text
from paa.data.images.decoders import decodable_suffixes

_LISTS = (*SPLIT_NAMES, "trainval")
_CLASS_LIST = re.compile(r"\s+-?[01]$")  # "000012 -1" in the lists of one class


def lists_of(base: Path) -> dict[str, Path]:
    """Return the lists of splits by their names in lower case: of ImageSets/Main, ImageSets or the folder itself.

    A tool's lists of everything ("default"), and of a class in it, do not count.
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


def list_for(lists: Mapping[str, Path], split: str) -> Path | None:
    """Return the list of a split."""
    return next((lists[name] for name in split_names(split.lower()) if name in lists), None)


def main_lists(lists: Iterable[str]) -> list[str]:
    """Return the names of lists, sorted, without those of one class in a split ("cat_train" beside "train")."""
    names = set(lists)
    return sorted(name for name in names if name.rpartition("_")[2] not in names - {name})


def list_lines(file: Path) -> list[str]:
    """Return the lines of a list that are not empty."""
    return [line.strip() for line in read_text(file).splitlines() if line.strip()]


class ListedNames:
    """Finds annotation files by the names that lists give them.

    keys: the files by their path below the folder of annotations, without suffix. image_stems: the names of all images.
    """

    def __init__(self, keys: Mapping[Path, str], image_stems: set[str]) -> None:
        self._files: dict[str, list[Path]] = {}
        self._stems: dict[str, list[Path]] = {}
        for file, key in keys.items():
            self._files.setdefault(key, []).append(file)
            self._stems.setdefault(file.stem, []).append(file)
        self._near = NameLookup(list(self._stems))
        self._image_stems = image_stems

    def find(self, line: str) -> Sequence[Path]:
        """Return the files that a line names: several for an ambiguous name, none for an unknown one.

        A line may have folders, a suffix, other capitals, or a number behind the name, as in the list of one class.
        """
        texts = [line]
        words = line.split()
        if len(words) > 1 and words[-1].lower().endswith(".xml"):  # image and annotation file
            texts.append(words[-1])
        forms = [form for text in texts for form in _forms(text)]
        if _CLASS_LIST.search(line) and not self._image_stems.intersection(forms):
            forms += _forms(_CLASS_LIST.sub("", line))
        for form in forms:
            if found := self._files.get(form) or self._stems.get(form):
                return found
        for form in forms:
            if near := self._near.find(form):
                return self._stems[near]
        return []


def _forms(text: str) -> Iterator[str]:
    """Yield a listed name, then without its folders, each also without the suffix of an image or an XML file."""
    parts = path_parts(text)
    for start in range(len(parts)):
        ending = "/".join(parts[start:])
        yield ending
        stem, dot, suffix = ending.rpartition(".")
        if dot and (suffix.lower() == "xml" or f".{suffix.lower()}" in decodable_suffixes()):
            yield stem
