"""Which COCO file of a folder holds a split, and which split a file holds."""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import msgspec

from paa.data.files.folders import files_ending, subfolders
from paa.data.files.split_folders import split_hint
from paa.data.files.splits import (
    has_annotation_word,
    is_annotation_folder,
    main_name,
    split_names,
    split_of,
    splits_in,
)
from paa.data.read_report import ReadReport, first_few
from paa.errors import DataError, MissingSplitError

_ROBOFLOW = "_annotations.coco"
_ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
_EXACT, _SYNONYM, _LOOSE, _SHARED = range(4)  # how well a file's name fits a split


@dataclass(frozen=True)
class SplitFile:
    """A split's annotation file. splits: what its name says, empty if nothing. bases: folders that hold the images."""

    file: Path
    splits: frozenset[str]
    bases: tuple[Path, ...]


@dataclass(frozen=True)
class _Candidate:
    """A .json file. base: the data set's folder. folder_splits: those that folders below `base` say."""

    file: Path
    base: Path
    folder_splits: frozenset[str] = frozenset()

    @property
    def splits(self) -> frozenset[str]:
        return splits_in(self.file.stem) or self.folder_splits

    def fit(self, split: str) -> int | None:
        """Return how well the file's name fits a split, 0 best; None if it does not fit."""
        stem, names = self.file.stem.lower(), [name.lower() for name in split_names(split)]
        for name in names:
            if re.fullmatch(rf"(instances[_-]?)?{re.escape(name)}[_-]?\d*", stem):
                return _EXACT if name == names[0] else _SYNONYM
        if main_name(split) not in ("train", "val", "test"):  # a split of any other name
            in_folder = self.file.parent.name.lower() == names[0] and self.file.parent != self.base
            said = re.search(rf"(?<![^\W_]){re.escape(names[0])}(?![^\W_])", stem)
            return _EXACT if in_folder and stem == _ROBOFLOW else _LOOSE if in_folder or said else None
        if main_name(split) not in self.splits:
            return None
        if stem == _ROBOFLOW:
            return _EXACT
        return _LOOSE if len(self.splits) == 1 else _SHARED


def level(path: Path) -> int | None:
    """Return how far below `path` COCO JSON lies: 0 at the path itself, 1 in a folder inside, else None."""
    if path.is_file():
        return 0 if path.suffix.lower() == ".json" or is_coco(path) else None
    if any(is_coco(candidate.file) for candidate in _own_candidates(path)):
        return 0
    return 1 if any(True for _ in _children_with_coco(path)) else None


def find_split_file(path: Path, split: str, report: ReadReport) -> SplitFile:
    """Return the file of a split. Raises DataError if there is none, or two that fit equally well."""
    if path.is_file():
        return _given_file(path)
    candidates = [c for c in _own_candidates(path) if is_coco(c.file)]
    children = list(_children_with_coco(path))
    if candidates:
        for child in children:
            report.warn(f"another COCO data set lies in {child} and is not read")
    else:
        candidates = [c for child in children for c in _own_candidates(child) if is_coco(c.file)]
    chosen = _best_fit(path, split, candidates, report) or _only_file(path, split, candidates)
    if chosen is None:
        raise _no_file_error(path, split, candidates)
    bases = [chosen.base]
    if chosen.base != path:
        bases.append(path)
    if is_annotation_folder(path.absolute().name):
        bases.append(_parent(path))
    return SplitFile(chosen.file, chosen.splits, tuple(bases))


def is_coco(file: Path) -> bool:
    """Return whether a file has the keys of COCO annotations, even if the file is damaged."""
    try:
        stat = file.stat()
    except OSError:
        return False
    return _has_keys(file, (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns))


def other_json(path: Path) -> list[Path]:
    """Return the .json files that lie where annotation files do, and are not COCO."""
    return [candidate.file for candidate in _own_candidates(path) if not is_coco(candidate.file)]


class _Keys(msgspec.Struct):
    images: msgspec.Raw
    annotations: msgspec.Raw = msgspec.Raw()
    categories: msgspec.Raw = msgspec.Raw()


@lru_cache(4096)
def _has_keys(file: Path, state: tuple[int, ...]) -> bool:
    """Return whether a JSON file is an object with the lists of COCO. state: what changes when the file does."""
    try:
        with file.open("rb") as opened:
            text = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        keys = msgspec.json.decode(text, type=_Keys)
    except (msgspec.ValidationError, RecursionError):  # JSON, but not such an object
        return False
    except msgspec.DecodeError:  # another encoding, NaN, or damaged: the reader says what is wrong
        return any(text.find('"images"'.encode(encoding)) >= 0 for encoding in _ENCODINGS)
    except (OSError, ValueError):  # an empty file cannot be mapped
        return False
    images, others = bytes(memoryview(keys.images)[:1]), (keys.annotations, keys.categories)
    return images == b"[" and any(bytes(memoryview(other)[:1]) == b"[" for other in others)


def _own_candidates(path: Path) -> Iterator[_Candidate]:
    """Yield the .json files of a data set's folder: its own, and those of folders for annotations or for a split."""
    yield from _candidates(path, path)
    for child, splits in _annotation_folders(path).items():
        yield from _candidates(child, path, splits)
        for inner in subfolders(child):
            said = _splits_of_folder(inner.name)
            if said or has_annotation_word(inner.name):
                yield from _candidates(inner, path, said or splits)


def _candidates(folder: Path, base: Path, splits: frozenset[str] = frozenset()) -> Iterable[_Candidate]:
    return (_Candidate(file, base, splits) for file in files_ending(folder, (".json",)))


def _annotation_folders(path: Path) -> dict[Path, frozenset[str]]:
    """Return the folders in a data set's folder that hold annotations, and the splits that their names say."""
    said = {child: _splits_of_folder(child.name) for child in subfolders(path)}
    return {child: splits for child, splits in said.items() if splits or has_annotation_word(child.name)}


def _splits_of_folder(name: str) -> frozenset[str]:
    """Return the splits that a folder's name says, if it says nothing else but perhaps that it holds annotations."""
    return splits_in(name) if split_of(name) or is_annotation_folder(name) else frozenset()


def _children_with_coco(path: Path) -> Iterator[Path]:
    """Yield the folders inside a folder that are COCO data sets of their own."""
    own = _annotation_folders(path)
    for child in subfolders(path):
        if child not in own and any(is_coco(candidate.file) for candidate in _own_candidates(child)):
            yield child


def _given_file(file: Path) -> SplitFile:
    """Return a given file as the one to read: its splits by its name, else by its folder's, and its image folders."""
    folder = file.parent.absolute()  # for its name: the path may be "train.json" alone
    bases, said = [file.parent], splits_in(file.stem) or _splits_of_folder(folder.name)
    if is_annotation_folder(folder.name):
        bases.append(_parent(file.parent))
        said = said or _splits_of_folder(folder.parent.name)  # train/annotations/any.json
    elif _splits_of_folder(folder.name) and is_annotation_folder(folder.parent.name):  # annotations/train/any.json
        bases += [_parent(file.parent), _parent(_parent(file.parent))]
    return SplitFile(file, said, tuple(bases))


def _parent(folder: Path) -> Path:
    """Return a folder's parent; that of a relative path is relative too."""
    return Path(os.path.normpath(folder / ".."))


def _best_fit(path: Path, split: str, candidates: Sequence[_Candidate], report: ReadReport) -> _Candidate | None:
    """Return the file whose name fits the split best, the root's own before others; None if no name fits."""
    fits = [(fit, c.file.parent != path, c) for c in candidates if (fit := c.fit(split)) is not None]
    if not fits:
        return None
    best = min(fit[:2] for fit in fits)
    equal = [c for *rank, c in fits if tuple(rank) == best]
    if len(equal) > 1:
        files = first_few(c.file for c in equal)
        raise DataError(f"{path}: several files for {split!r}: {files}; name one of them")
    for fit, _, other in fits:
        if fit <= _SYNONYM and other is not equal[0]:
            report.warn(f"{other.file} fits {split!r} too and is not read; {equal[0].file} is")
    return equal[0]


def _only_file(path: Path, split: str, candidates: Sequence[_Candidate]) -> _Candidate | None:
    """Return the one annotation file of a folder where no name says a split; None where names do.

    The file is the split "train", or the split that the folder's own name says; None for another split. Raises
    DataError for several files.
    """
    splits = _splits_of_folder(path.absolute().name) | {"train"}
    if any(c.splits for c in candidates) or main_name(split) not in splits:
        return None
    if len(candidates) > 1:
        files = first_few(c.file for c in candidates)
        raise DataError(f"{path}: several files that may be {split!r}: {files}; name one of them")
    return candidates[0] if candidates else None


def _no_file_error(path: Path, split: str, candidates: Sequence[_Candidate]) -> DataError:
    """Return the error for a folder without a file of the split, which names the files that exist."""
    others = other_json(path)
    for file in others:
        fit = _Candidate(file, path).fit(split)
        if fit is not None and fit <= _SYNONYM:
            return DataError(f"{file}: not COCO annotations: expected an object with lists 'images' and 'categories'")
    if candidates:
        files = ", ".join(f"{c.file}" + ("" if c.splits else " (no split in its name)") for c in candidates[:6])
        return MissingSplitError(
            f"{path}: no COCO annotations for {split!r}; there is {files}: give the file itself, or {split_hint(split)}"
        )
    return DataError(
        f"{path}: no COCO annotations for {split!r}: expected {split}.json or annotations/instances_{split}*.json; "
        f"there is {first_few(others) + ', not COCO' if others else 'no .json file'}"
    )
