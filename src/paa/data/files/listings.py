"""Files found in folders that are listed once each, by names as annotations have them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from paa.data.files.folders import is_file, is_folder, scan
from paa.data.files.lookup import NameLookup


class Place(NamedTuple):
    """A file that was found. folder, name: where the file is; base: the folder below which it was looked for."""

    folder: str
    name: str
    base: str

    @property
    def path(self) -> str:
        """The file's path."""
        return os.path.join(self.folder, self.name)  # noqa: PTH118 - of a hundred thousand images


class Listings:
    """The content of folders, each listed when it is first asked for, and files in them by names that differ a little.

    Folders are text, not paths, for the speed of a hundred thousand look-ups.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[list[str], list[str]]] = {}
        self._file_lookups: dict[str, NameLookup] = {}
        self._folder_lookups: dict[str, NameLookup] = {}
        self._inside: dict[tuple[str, str], str | None] = {}

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders in a folder, sorted, without hidden ones."""
        return [name for name in self._list(folder)[1] if not name.startswith(".")]

    def find(self, base: str, name: str) -> Place | None:
        """Return the file that a relative name with slashes stands for in a folder."""
        inside, _, last = name.rpartition("/")
        folder = self._folder_inside(base, inside)
        if folder is None or not last:
            return None
        if folder not in self._file_lookups:
            self._file_lookups[folder] = NameLookup(self._list(folder)[0])
        found = self._file_lookups[folder].find(last)
        return None if found is None else Place(folder, found, base)

    def find_any(self, base: Path, parts: Sequence[str]) -> Path | None:
        """Return the folder or file that the parts of a relative path stand for in a folder."""
        name = "/".join(parts)
        if (folder := self._folder_inside(str(base), name)) is not None:
            return Path(folder)
        place = self.find(str(base), name)
        return None if place is None else Path(place.path)

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
            self._folder_lookups[folder] = NameLookup(self._list(folder)[1])
        found = self._folder_lookups[folder].find(name)
        return None if found is None else str(Path(folder, found))

    def _list(self, folder: str) -> tuple[list[str], list[str]]:
        """Return the names of the files and, sorted, of the folders in a folder, hidden ones too."""
        if folder not in self._known:
            files: list[str] = []
            folders: list[str] = []
            for entry in scan(folder):
                if is_folder(entry):
                    folders.append(entry.name)
                elif is_file(entry):
                    files.append(entry.name)
            self._known[folder] = files, sorted(folders)
        return self._known[folder]
