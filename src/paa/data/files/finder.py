"""Finding files in folders by the names that annotations give them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from paa.data.files.boundary import current, is_inside
from paa.data.files.folders import list_folder
from paa.data.files.lookup import NameLookup


class FoundFile(NamedTuple):
    """A file that was found. folder, name: where the file is; base: the folder below which it was looked for."""

    folder: str
    name: str
    base: str

    @property
    def path(self) -> str:
        """The file's path."""
        return os.path.join(self.folder, self.name)  # noqa: PTH118 - faster for a hundred thousand images


class FileFinder:
    """Finds files in folders, also by names that differ a little; each folder is listed once.

    Folders are strings, not `Path`s, for the speed of a hundred thousand look-ups.
    """

    def __init__(self) -> None:
        self._file_lookups: dict[str, NameLookup] = {}
        self._folder_lookups: dict[str, NameLookup] = {}
        self._inside: dict[tuple[str, str], str | None] = {}
        self._outer: dict[str, bool] = {}

    def find(self, base: str, name: str) -> FoundFile | None:
        """Return the file that a relative name with slashes stands for in a folder; none outside of the data set."""
        inside, _, last = name.rpartition("/")
        direct = os.path.normpath(f"{base}/{inside}") if ".." in inside else base
        if self._is_outside(direct) and not is_inside(f"{base}/{name}"):
            return None
        folder = self._folder_inside(base, inside)
        if folder is None and ".." in inside:  # the way there leads through a folder that is not listed
            folder = direct
        if folder is None or not last:
            return None
        if folder not in self._file_lookups:
            self._file_lookups[folder] = NameLookup(list_folder(folder).files)
        found = self._file_lookups[folder].find(last)
        return None if found is None else FoundFile(folder, found, base)

    def find_any(self, base: Path, parts: Sequence[str]) -> Path | None:
        """Return the folder or file that the parts of a relative path stand for in a folder."""
        name = "/".join(parts)
        if (folder := self._folder_inside(str(base), name)) is not None:
            return Path(folder)
        found = self.find(str(base), name)
        return None if found is None else Path(found.path)

    def _is_outside(self, folder: str) -> bool:
        if folder not in self._outer:
            self._outer[folder] = (boundary := current()) is not None and not boundary.holds(folder)
        return self._outer[folder]

    def _folder_inside(self, base: str, inside: str) -> str | None:
        if (base, inside) not in self._inside:
            folder: str | None = base
            for part in inside.split("/"):
                if folder is None or part in ("", "."):
                    continue
                folder = os.path.normpath(f"{folder}/..") if part == ".." else self._child(folder, part)
            self._inside[base, inside] = folder
        return self._inside[base, inside]

    def _child(self, folder: str, name: str) -> str | None:
        """Return the folder that a name stands for in a folder."""
        if folder not in self._folder_lookups:
            self._folder_lookups[folder] = NameLookup(list_folder(folder).folders)
        found = self._folder_lookups[folder].find(name)
        return None if found is None else str(Path(folder, found))
