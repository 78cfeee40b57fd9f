"""Which folders the files of a data set may lead to: the data set's own, and those that a person named.

A data set may come from anybody. While one is read, paths in its files and links among them that lead to other folders
are neither listed nor opened: `list_folder` leaves them out, and notes them, so that a message can name them and the
option that allows them. A link is recognised by its folder's listing, so that an image costs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

OPTION = "--allow-outside"
_NAMED = 5  # folders that a remark names


@dataclass
class Boundary:
    """The folders that may be read, by their real paths. refused: real paths of what may not be, by the paths to it."""

    roots: tuple[str, ...]
    refused: dict[str, str] = field(default_factory=dict)
    _real: dict[str, str] = field(default_factory=dict)

    def holds(self, path: str | os.PathLike[str]) -> bool:
        """Return whether a path leads into one of the folders, wherever its links lead."""
        try:
            return self._is_below(os.path.realpath(path))
        except (OSError, ValueError):  # a name that no file can have
            return False

    def holds_link(self, link: str) -> bool:
        """Return what `holds` does of a symbolic link, soon where many links lead to files of a few folders."""
        folder, name = os.path.split(os.path.join(os.path.dirname(link), os.readlink(link)))  # noqa: PTH115, PTH118, PTH120
        if folder not in self._real:
            self._real[folder] = os.path.realpath(folder)
        real = f"{self._real[folder]}/{name}"
        if name in ("", ".", "..") or os.path.islink(real):  # noqa: PTH114
            return self.holds(link)
        return self._is_below(real)

    def _is_below(self, real: str) -> bool:
        return any(f"{real}/".startswith(root) for root in self.roots)

    def refuse(self, path: str | os.PathLike[str]) -> None:
        """Note a path that leads outside, if anything is there."""
        if os.path.exists(path):  # noqa: PTH110 - the path may be text
            self.refused[os.fspath(path)] = os.path.realpath(path)


_current: ContextVar[Boundary | None] = ContextVar("_current", default=None)


@contextmanager
def within(folders: Iterable[Path]) -> Iterator[Boundary]:
    """Keep the reading of files in this context to these folders and those below."""
    boundary = Boundary(tuple(os.path.realpath(folder).rstrip("/") + "/" for folder in folders))
    token = _current.set(boundary)
    try:
        yield boundary
    finally:
        _current.reset(token)


def current() -> Boundary | None:
    """Return the boundary of this context; None where anything may be read."""
    return _current.get()


def is_inside(path: str | os.PathLike[str]) -> bool:
    """Return whether a path may be read; one that may not is noted."""
    boundary = current()
    if boundary is None or boundary.holds(path):
        return True
    boundary.refuse(path)
    return False


def was_refused(path: str) -> bool:
    """Return whether a link was refused, which `list_folder` came upon."""
    boundary = current()
    return boundary is not None and path in boundary.refused


def refused_in(folder: Path, *, recursive: bool = False) -> list[str]:
    """Return the links directly in a folder that were refused, with `recursive` also those in folders below, sorted."""
    boundary = current()
    start = f"{folder}/"
    found = [] if boundary is None else [path for path in boundary.refused if path.startswith(start)]
    return sorted(path for path in found if recursive or "/" not in path[len(start) :])


def outside(path: str | os.PathLike[str]) -> str:
    """Return what is wrong with a path that was refused, and what helps, in words that follow its name."""
    real = os.path.realpath(path)
    return f"leads outside of the data set, to {real}: to allow it, {OPTION} {_folder_of(real)}"


def note_of_refused() -> str:
    """Return a remark on the paths that were refused, to be put behind a message; "" without one."""
    boundary = current()
    if boundary is None or not boundary.refused:
        return ""
    first, *others = sorted(boundary.refused)
    if not others:
        return f"; not read: {first} {outside(first)}"
    folders = list(dict.fromkeys(map(_folder_of, boundary.refused.values())))
    named = " ".join(folders[:_NAMED]) + (f" and {len(folders) - _NAMED} more folders" if folders[_NAMED:] else "")
    return (
        f"; not read: {first} and {len(others)} more, which lead outside of the data set: to allow them, {OPTION} "
        f"{named}"
    )


def _folder_of(real: str) -> str:
    return real if os.path.isdir(real) else os.path.dirname(real)  # noqa: PTH112, PTH120 - the path is text
