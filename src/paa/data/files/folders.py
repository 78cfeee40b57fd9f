"""Looking for files in folders as people have them: hidden ones apart, links followed, names as near as can be."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from paa.data.images.decoders import HEIF_SUFFIXES, decodable_suffixes, undecodable_suffixes
from paa.data.read_report import ReadReport


def files_in(folder: Path, *, recursive: bool = False) -> list[Path]:
    """Return the files of a folder (with `recursive`, of all folders inside it), sorted; no hidden files or folders.

    Linked folders are followed, each real folder once. A folder that is missing or cannot be read has no files.
    """
    return sorted(_walk(folder, recursive, set()))


def files_ending(folder: Path, endings: Iterable[str]) -> list[Path]:
    """Return the files directly in a folder whose names end so, in any case, sorted; no hidden ones."""
    return [folder / name for name in names_ending(folder, endings)]


def names_ending(folder: Path, endings: Iterable[str]) -> list[str]:
    """Return the names of the files that `files_ending` returns."""
    lower = tuple(endings)
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if e.name.lower().endswith(lower) and _is(e.is_file)]
    except OSError:
        return []
    return sorted(name for name in names if not name.startswith("."))


def subfolders(folder: Path) -> list[Path]:
    """Return the folders directly inside a folder, sorted, without hidden ones."""
    try:
        with os.scandir(folder) as entries:
            return sorted(folder / e.name for e in entries if not e.name.startswith(".") and _is(e.is_dir))
    except OSError:
        return []


def image_files(folder: Path, report: ReadReport, *, recursive: bool = False) -> list[Path]:
    """Return the images of a folder that can be decoded here, sorted; a warning counts those of other formats."""
    files = files_in(folder, recursive=recursive)
    known, unknown = decodable_suffixes(), undecodable_suffixes()
    others = [file for file in files if file.suffix.lower() in unknown]
    if others:
        heif = any(file.suffix.lower() in HEIF_SUFFIXES for file in others)
        hint = ", or for .heic: pip install pillow-heif" if heif else ""
        count = "1 file" if len(others) == 1 else f"{len(others)} files"
        report.warn(
            f"{folder}: {count} of a format that cannot be decoded here: {some(f.name for f in others)}; convert "
            f"{'it' if len(others) == 1 else 'them'}{hint}"
        )
    return [file for file in files if file.suffix.lower() in known]


def holds_images(folder: Path) -> bool:
    """Return whether there are images directly in the folder."""
    suffixes = tuple(decodable_suffixes())
    try:
        with os.scandir(folder) as entries:
            return any(e.name.lower().endswith(suffixes) for e in entries if not e.name.startswith("."))
    except OSError:
        return False


def some(names: Iterable[object]) -> str:
    """Return the first names, and how many more there are, for a message."""
    texts = [str(name) for name in names]
    return ", ".join(texts[:5]) + (f" and {len(texts) - 5} more" if len(texts) > 5 else "")


def relative_name(file: Path, root: Path) -> str:
    """Return a file's name relative to a folder, with slashes; outside of it, its absolute path."""
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file.absolute())


def parts_of(path: str) -> list[str]:
    """Return the folders and the name of a path that any system wrote."""
    return [part for part in re.split(r"[\\/]+", path.strip()) if part not in ("", ".")]


def path_exists(path: Path) -> bool:
    """Return whether there is a file or folder; there is none by a name that no file can have, such as a long text."""
    return _is(path.exists)


def with_name(folder: Path) -> Path:
    """Return a folder by a path that ends in its name, as "." and ".." do not."""
    return folder if folder.name not in ("", "..") else Path(os.path.normpath(folder.absolute()))


def find_folder(parent: Path, names: Sequence[str]) -> Path | None:
    """Return the folder inside `parent` that has the first of these names that there is, in any case."""
    by_name: dict[str, Path] = {}
    for child in subfolders(parent):
        by_name.setdefault(child.name.lower(), child)
    return next((by_name[name.lower()] for name in names if name.lower() in by_name), None)


def _is(question: Callable[[], bool]) -> bool:
    """Return the answer to a question about a file, no where the system refuses it, as for a link into another's."""
    try:
        return question()
    except (OSError, ValueError):
        return False


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
        if _is(entry.is_file):
            yield folder / entry.name
        elif recursive and _is(entry.is_dir):
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


class PathLookup:
    """Files found by paths that another machine wrote: the longest matching ending decides."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._files: dict[str, list[Path]] = {}
        for file in files:
            self._files.setdefault(file.name, []).append(file)
        self._names = NameLookup(list(self._files))

    def find(self, path: str) -> list[Path]:
        """Return the files whose paths end most like this one: none, one, or several that fit equally well."""
        parts = parts_of(path)
        name = self._names.find(parts[-1]) if parts else None
        files = self._files[name] if name else []
        if len(files) < 2:
            return files
        same = [_common_ending(file.parent.parts, parts[:-1]) for file in files]
        return [file for file, count in zip(files, same) if count == max(same)]


def _common_ending(a: Sequence[str], b: Sequence[str]) -> int:
    count = 0
    while count < min(len(a), len(b)) and _folded(a[-1 - count]) == _folded(b[-1 - count]):
        count += 1
    return count


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
