"""Looking for files in folders as people have them: hidden ones apart, links followed, names as near as can be."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote


def files_in(folder: Path, *, recursive: bool = False) -> list[Path]:
    """Return the files of a folder (with `recursive`, of all folders inside it), sorted; no hidden files or folders.

    Linked folders are followed, each real folder once. A folder that is missing or cannot be read has no files.
    """
    return sorted(_walk(folder, recursive, set()))


def subfolders(folder: Path) -> list[Path]:
    """Return the folders directly inside a folder, sorted, without hidden ones."""
    try:
        with os.scandir(folder) as entries:
            return sorted(folder / e.name for e in entries if not e.name.startswith(".") and e.is_dir())
    except OSError:
        return []


def find_folder(parent: Path, names: Sequence[str]) -> Path | None:
    """Return the folder inside `parent` that has the first of these names that there is, in any case."""
    by_name: dict[str, Path] = {}
    for child in subfolders(parent):
        by_name.setdefault(child.name.lower(), child)
    return next((by_name[name.lower()] for name in names if name.lower() in by_name), None)


def _walk(folder: Path, recursive: bool, seen: set[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if not entry.name.startswith(".")]
    except OSError:
        return
    for entry in entries:
        if entry.is_file():
            yield folder / entry.name
        elif recursive and entry.is_dir():
            yield from _walk(folder / entry.name, True, seen)


class NameLookup:
    """The names in one folder, found also where a tool wrote them a little differently.

    Tried in turn: the name itself; composed or decomposed characters (NFC, NFD); percent-encoding; other capitals.
    Where two files are equally near, neither is found.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._exact = frozenset(names)
        self._composed = _unique(names, _composed)
        self._folded: dict[str, str | None] | None = None
        self._names = names

    def find(self, name: str) -> str | None:
        """Return the name of the file that `name` stands for, None if there is none."""
        if name in self._exact:
            return name
        for form in (_composed(name), _composed(unquote(name))):
            if (found := self._composed.get(form)) is not None:
                return found
        if self._folded is None:
            self._folded = _unique(self._names, _folded)
        return self._folded.get(_folded(name)) or self._folded.get(_folded(unquote(name)))


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _folded(name: str) -> str:
    return _composed(name).casefold()


def _unique(names: Sequence[str], form: Callable[[str], str]) -> dict[str, str | None]:
    """Return names by their form; None where two have the same."""
    by_form: dict[str, str | None] = {}
    for name in names:
        key = form(name)
        by_form[key] = None if key in by_form else name
    return by_form
