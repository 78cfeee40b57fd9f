"""Finding files by names and paths that a tool wrote on another system, or a little differently."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import unquote

AnyPath = TypeVar("AnyPath", str, Path)


class NameLookup:
    """The names in one folder, found also by a name that differs a little.

    Tried in turn: the name itself; composed or decomposed characters (NFC, NFD); percent-encoding; other capitals.
    Where two names are equally near, neither is found.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._exact = frozenset(names)
        self._composed = _unique(names, _composed)
        self._folded: dict[str, str | None] | None = None
        self._names = names

    def find(self, name: str) -> str | None:
        """Return the name in the folder that `name` stands for, None if there is none."""
        if name in self._exact:
            return name
        for form in (_composed(name), _composed(unquote(name))):
            if (found := self._composed.get(form)) is not None:
                return found
        if self._folded is None:
            self._folded = _unique(self._names, _folded)
        return self._folded.get(_folded(name)) or self._folded.get(_folded(unquote(name)))


class PathLookup(Generic[AnyPath]):
    """Files found by paths that another machine wrote: the longest matching ending decides.

    Folders and names match whatever their capitals, their composed or decomposed characters and their percent-encoding;
    of files with equally long endings, those that match to the letter come first.
    """

    def __init__(self, files: Iterable[AnyPath]) -> None:
        self._files: dict[str, list[AnyPath]] = {}
        for file in files:
            self._files.setdefault(_matched(os.fspath(file).rpartition(os.sep)[2]), []).append(file)

    def find(self, path: str) -> list[AnyPath]:
        """Return the files whose paths end most like this one: none, one, or several that fit equally well."""
        return self.find_with_length(path)[1]

    def find_with_length(self, path: str) -> tuple[int, list[AnyPath]]:
        """Return how many parts at the end of the path match, and the files that `find` returns."""
        decoded, written = _parts(unquote(path)), _parts(path)
        scored = [
            (_agreement(decoded, written, Path(file).parts), file)
            for file in (self._files.get(_matched(decoded[-1]), ()) if decoded else ())
        ]
        best = max((score for score, _ in scored), default=(0, 0, 0))
        return best[0], [file for score, file in scored if score == best]


def _agreement(decoded: Sequence[str], written: Sequence[str], own: Sequence[str]) -> tuple[int, int, int]:
    """Return how many parts at the end of a path match those of a file, and how many of these are identical.

    Identical parts are counted twice: for the path as it is written, and for the decoded path. own: the file's parts.
    """
    length = 0
    while length < min(len(decoded), len(own)) and _matched(decoded[-1 - length]) == _matched(own[-1 - length]):
        length += 1
    same = [sum(a == b for a, b in zip(path[: -1 - length : -1], own[::-1])) for path in (written, decoded)]
    return length, same[0], same[1]


def _parts(path: str) -> list[str]:
    return [part for part in re.split(r"[\\/]", path) if part not in ("", ".", "..")]


def _matched(name: str) -> str:
    """Return a name in the form in which two names are compared."""
    return _folded(unquote(name))


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _folded(name: str) -> str:
    return _composed(name).casefold()


def _unique(names: Sequence[str], form: Callable[[str], str]) -> dict[str, str | None]:
    """Return names by their form; None for a form that two names have."""
    by_form: dict[str, str | None] = {}
    for name in names:
        key = form(name)
        by_form[key] = None if key in by_form else name
    return by_form
