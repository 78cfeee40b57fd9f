"""The content of folders, each listed once, and files found in it by names as annotations have them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from paa.data.files.folders import NameLookup, path_exists


class Place(NamedTuple):
    """A file that was found. folder: the one whose listing has it; name: its name there; base: the folder searched."""

    folder: str
    name: str
    base: str

    @property
    def path(self) -> str:
        """The file's path."""
        return os.path.join(self.folder, self.name)  # noqa: PTH118 (of a hundred thousand images)


def exists(entry: os.DirEntry[str]) -> bool:
    """Return whether a folder's entry is more than a link to nothing, as some stores of large files leave them."""
    return not entry.is_symlink() or path_exists(Path(entry.path))


class Listings:
    """The content of folders, each listed once, when it is asked for."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[list[str], list[str]]] = {}
        self._lookups: dict[tuple[str, bool], NameLookup] = {}
        self._inside: dict[tuple[str, str], str | None] = {}

    def files(self, folder: str) -> list[str]:
        """Return the names of the files in a folder; none if it cannot be listed."""
        return self._list(folder)[0]

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders in a folder, sorted, without hidden ones."""
        return [name for name in self._list(folder)[1] if not name.startswith(".")]

    def find(self, base: str, name: str) -> Place | None:
        """Return the file that a relative name with slashes stands for in a folder."""
        inside, _, last = name.rpartition("/")
        folder = self._folder_inside(base, inside)
        if folder is None or not last:
            return None
        found = self._lookup(folder, False).find(last)
        return None if found is None else Place(folder, found, base)

    def _folder_inside(self, base: str, inside: str) -> str | None:
        if (base, inside) not in self._inside:
            folder: str | None = base
            for part in inside.split("/"):
                if folder is None or part in ("", "."):
                    continue
                if part == "..":
                    folder = str(Path(os.path.normpath(Path(folder, ".."))))
                else:
                    found = self._lookup(folder, True).find(part)
                    folder = None if found is None else str(Path(folder, found))
            self._inside[base, inside] = folder
        return self._inside[base, inside]

    def _lookup(self, folder: str, of_folders: bool) -> NameLookup:
        if (folder, of_folders) not in self._lookups:
            self._lookups[folder, of_folders] = NameLookup(self._list(folder)[of_folders])
        return self._lookups[folder, of_folders]

    def _list(self, folder: str) -> tuple[list[str], list[str]]:
        if folder not in self._known:
            files: list[str] = []
            folders: list[str] = []
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if exists(entry):
                            (folders if entry.is_dir() else files).append(entry.name)
            except OSError:
                pass
            self._known[folder] = files, sorted(folders)
        return self._known[folder]
