"""Listing the files and folders in a folder: hidden ones left out, links followed within the data set's boundary."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

from paa.data.files.boundary import current


class Content(NamedTuple):
    """The names of the files and, sorted, of the folders in a folder, hidden ones too."""

    files: list[str]
    folders: list[str]


_known: ContextVar[dict[str, Content] | None] = ContextVar("known", default=None)


@contextmanager
def folders_listed_once() -> Iterator[None]:
    """List each folder only once in this context, for a reader that looks into a folder of many images many times."""
    token = _known.set({})
    try:
        yield
    finally:
        _known.reset(token)


def list_folder(folder: Path | str) -> Content:
    """Return what a folder holds, nothing for a folder that is missing or cannot be read, or lies outside.

    A link is what it leads to; a link that leads nowhere, or outside (`boundary`), is neither a file nor a folder.
    """
    known = _known.get()
    if known is None:
        return _scan(folder)
    path = os.fspath(folder)
    if path not in known:
        known[path] = _scan(folder)
    return known[path]


def _scan(folder: Path | str) -> Content:
    files: list[str] = []
    folders: list[str] = []
    boundary = current()
    if boundary is not None and not boundary.holds(folder):
        return Content(files, folders)
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    if boundary is not None and entry.is_symlink() and not boundary.holds_link(entry.path):
                        boundary.refuse(entry.path)
                    elif entry.is_dir():
                        folders.append(entry.name)
                    elif entry.is_file():
                        files.append(entry.name)
                except OSError:  # a link to itself, or into a folder of another user
                    continue
    except (OSError, ValueError):  # ValueError: a name that no folder can have
        pass
    return Content(files, sorted(folders))


def walk(folder: str, enter: Callable[[str], bool], seen: set[str]) -> Iterator[tuple[str, str]]:
    """Yield folder and name of each file in a folder and in all folders below it, without hidden ones.

    enter: whether a folder of this name is entered. seen: the real paths of the folders entered so far, to which `walk`
    adds, so that each folder is entered once, whichever link leads to it.
    """
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    content = list_folder(folder)
    for name in _visible(content.files):
        yield folder, name
    for name in filter(enter, _visible(content.folders)):
        yield from walk(os.path.join(folder, name), enter, seen)  # noqa: PTH118 - faster for a hundred thousand files


def files_in(folder: Path, *, recursive: bool = False) -> list[Path]:
    """Return the files of a folder, with `recursive` also those of all folders below it, sorted, without hidden ones.

    A linked folder is entered too, each real folder once.
    """
    return sorted(Path(parent, name) for parent, name in walk(str(folder), lambda name: recursive, set()))


def files_ending(folder: Path, endings: Iterable[str]) -> list[Path]:
    """Return the files directly in a folder that have one of these endings, in any case, sorted; no hidden ones."""
    return [folder / name for name in names_ending(folder, endings)]


def names_ending(folder: Path, endings: Iterable[str]) -> list[str]:
    """Return the names of the files that `files_ending` returns."""
    lower = tuple(endings)
    return sorted(_visible(name for name in list_folder(folder).files if name.lower().endswith(lower)))


def subfolders(folder: Path) -> list[Path]:
    """Return the folders directly inside a folder, sorted, without hidden ones."""
    return [folder / name for name in _visible(list_folder(folder).folders)]


def find_folder(parent: Path, names: Sequence[str]) -> Path | None:
    """Return the folder inside `parent` with the first of these names that exists, in any case."""
    by_name: dict[str, Path] = {}
    for child in subfolders(parent):
        by_name.setdefault(child.name.lower(), child)
    return next((by_name[name.lower()] for name in names if name.lower() in by_name), None)


def _visible(names: Iterable[str]) -> Iterator[str]:
    return (name for name in names if not name.startswith("."))
