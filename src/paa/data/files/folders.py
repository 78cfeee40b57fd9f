"""What folders hold: hidden files left out, links followed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from paa.data.files.paths import answered


def scan(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    """Yield what is directly in a folder, hidden entries too, in any order.

    A folder that is missing or cannot be read has no entries.
    """
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except (OSError, ValueError):  # ValueError: a name that no folder can have
        return


def is_file(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a file, or a link to one that exists."""
    return answered(entry.is_file)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder, or a link to one."""
    return answered(entry.is_dir)


def walk(folder: str, enter: Callable[[str], bool], seen: set[str]) -> Iterator[tuple[str, str]]:
    """Yield folder and name of each file in a folder and in all folders below it, without hidden ones.

    enter: whether a folder of this name is entered. seen: the real paths of the folders entered so far, so that each is
    entered once, by whichever link; it grows.
    """
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    inside = []
    for entry in scan(folder):
        if entry.name.startswith("."):
            continue
        if is_file(entry):
            yield folder, entry.name
        elif is_folder(entry) and enter(entry.name):
            inside.append(entry.name)
    for name in sorted(inside):
        yield from walk(os.path.join(folder, name), enter, seen)  # noqa: PTH118 - of a hundred thousand files


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
    return sorted(entry.name for entry in _visible_ending(folder, endings) if is_file(entry))


def few_files(folder: Path, ending: str, count: int) -> list[Path]:
    """Return at most `count` of the files with an ending, without listing all of a large folder."""
    return [folder / entry.name for entry in islice(_visible_ending(folder, (ending,)), count)]


def has_files(folder: Path, endings: Iterable[str]) -> bool:
    """Return whether a file with one of these endings is directly in the folder."""
    return any(True for _ in _visible_ending(folder, endings))


def subfolders(folder: Path) -> list[Path]:
    """Return the folders directly inside a folder, sorted, without hidden ones."""
    return sorted(folder / e.name for e in scan(folder) if not e.name.startswith(".") and is_folder(e))


def find_folder(parent: Path, names: Sequence[str]) -> Path | None:
    """Return the folder inside `parent` with the first of these names that exists, in any case."""
    by_name: dict[str, Path] = {}
    for child in subfolders(parent):
        by_name.setdefault(child.name.lower(), child)
    return next((by_name[name.lower()] for name in names if name.lower() in by_name), None)


def _visible_ending(folder: Path, endings: Iterable[str]) -> Iterator[os.DirEntry[str]]:
    lower = tuple(endings)
    return (e for e in scan(folder) if e.name.lower().endswith(lower) and not e.name.startswith("."))
