"""Which COCO file of a folder holds a split, and which split a file is."""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import msgspec

from paa.data.files.folders import files_ending, some, subfolders
from paa.data.files.split_folders import split_hint
from paa.data.files.splits import (
    has_annotation_word,
    is_annotation_folder,
    is_split_folder,
    main_name,
    split_names,
    splits_in,
)
from paa.data.read_report import ReadReport
from paa.errors import DataError

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
    """A .json file. base: the data set's folder. folder_splits: what the names of the folders below `base` say."""

    file: Path
    base: Path
    folder_splits: frozenset[str] = frozenset()

    @property
    def splits(self) -> frozenset[str]:
        return splits_in(self.file.stem) or self.folder_splits


class _Keys(msgspec.Struct):
    images: msgspec.Raw
    annotations: msgspec.Raw = msgspec.Raw()
    categories: msgspec.Raw = msgspec.Raw()


def level(path: Path) -> int | None:
    """Return 0 if the path is COCO JSON or holds it as a data set's own, 1 if a folder inside it does, else None."""
    if path.is_file():
        return 0 if path.suffix.lower() == ".json" or is_coco(path) else None
    if any(is_coco(candidate.file) for candidate in _own(path)):
        return 0
    return 1 if any(True for _ in _children_with_coco(path)) else None


def find_split_file(path: Path, split: str, report: ReadReport) -> SplitFile:
    """Return the file of a split. Raises DataError if there is none, or two that fit equally well."""
    if path.is_file():
        return _given(path)
    candidates = [c for c in _own(path) if is_coco(c.file)]
    children = list(_children_with_coco(path))
    if candidates:
        for child in children:
            report.warn(f"another COCO data set lies in {child} and is not read")
    else:
        candidates = [c for child in children for c in _own(child) if is_coco(c.file)]
    chosen = _choose(path, split, candidates, report)
    if chosen is None:
        chosen = _only(path, split, candidates)
    bases = [chosen.base]
    if chosen.base != path:
        bases.append(path)
    if is_annotation_folder(path.absolute().name):
        bases.append(_up(path))
    return SplitFile(chosen.file, chosen.splits, tuple(bases))


def is_coco(file: Path) -> bool:
    """Return whether a file looks like COCO annotations, by its keys alone, also if it is broken."""
    try:
        stat = file.stat()
    except OSError:
        return False
    return _has_keys(file, (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns))


def other_json(path: Path) -> list[Path]:
    """Return the .json files in the places of annotation files that are not COCO."""
    return [candidate.file for candidate in _own(path) if not is_coco(candidate.file)]


@lru_cache(4096)
def _has_keys(file: Path, state: tuple[int, ...]) -> bool:
    try:
        with file.open("rb") as opened:
            text = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        keys = msgspec.json.decode(text, type=_Keys)
    except msgspec.ValidationError:  # JSON, but not such an object
        return False
    except msgspec.DecodeError:  # another encoding, NaN, or damaged: the reader says what is wrong
        return any(text.find('"images"'.encode(encoding)) >= 0 for encoding in _ENCODINGS)
    except (OSError, ValueError):  # an empty file cannot be mapped
        return False
    images, others = bytes(memoryview(keys.images)[:1]), (keys.annotations, keys.categories)
    return images == b"[" and any(bytes(memoryview(other)[:1]) == b"[" for other in others)


def _own(path: Path) -> Iterator[_Candidate]:
    """Yield the .json files of a data set's folder: its own, and those of folders for annotations or for a split."""
    yield from (_Candidate(file, path) for file in files_ending(path, (".json",)))
    for child in subfolders(path):
        if not (has_annotation_word(child.name) or is_split_folder(child.name)):
            continue
        splits = splits_in(child.name) if is_split_folder(child.name) else frozenset()
        yield from (_Candidate(file, path, splits) for file in files_ending(child, (".json",)))
        for inner in subfolders(child):
            if is_split_folder(inner.name):
                yield from (_Candidate(file, path, splits_in(inner.name)) for file in files_ending(inner, (".json",)))
            elif has_annotation_word(inner.name):
                yield from (_Candidate(file, path, splits) for file in files_ending(inner, (".json",)))


def _children_with_coco(path: Path) -> Iterator[Path]:
    """Yield the folders inside a folder that are COCO data sets of their own."""
    for child in subfolders(path):
        if has_annotation_word(child.name) or is_split_folder(child.name):
            continue
        if any(is_coco(candidate.file) for candidate in _own(child)):
            yield child


def _given(file: Path) -> SplitFile:
    """Return what a file that is given says by its name, else by its folder's, and where its images may be."""
    bases, said = [file.parent], splits_in(file.stem)
    folder = file.parent.absolute()  # for its name: the path may be "train.json" alone
    in_split = is_split_folder(folder.name)
    if in_split and not is_annotation_folder(folder.name):
        said = said or splits_in(folder.name)
        if is_annotation_folder(folder.parent.name):  # annotations/train/any.json
            bases += [_up(file.parent), _up(_up(file.parent))]
    elif is_annotation_folder(folder.name):
        bases.append(_up(file.parent))
        said = said or splits_in(folder.name)
        if not said and is_split_folder(folder.parent.name):  # train/annotations/any.json
            said = splits_in(folder.parent.name)
    return SplitFile(file, said, tuple(bases))


def _up(folder: Path) -> Path:
    """Return a folder's parent; a relative path stays relative."""
    return Path(os.path.normpath(folder / ".."))


def _fit(candidate: _Candidate, split: str) -> int | None:
    """Return how well a file's name fits a split, 0 best; None if it does not."""
    stem, names = candidate.file.stem.lower(), [name.lower() for name in split_names(split)]
    for name in names:
        if re.fullmatch(rf"(instances[_-]?)?{re.escape(name)}[_-]?\d*", stem):
            return _EXACT if name == names[0] else _SYNONYM
    if main_name(split) not in ("train", "val", "test"):  # a name of one's own
        folder = candidate.file.parent.name.lower() == names[0] and candidate.file.parent != candidate.base
        said = re.search(rf"(?<![^\W_]){re.escape(names[0])}(?![^\W_])", stem)
        return _EXACT if folder and stem == _ROBOFLOW else _LOOSE if folder or said else None
    if main_name(split) not in candidate.splits:
        return None
    if stem == _ROBOFLOW:
        return _EXACT
    return _LOOSE if len(candidate.splits) == 1 else _SHARED


def _choose(path: Path, split: str, candidates: Sequence[_Candidate], report: ReadReport) -> _Candidate | None:
    """Return the file whose name fits the split best, the root's own before others; None if no name fits."""
    fits = [(fit, c.file.parent != path, c) for c in candidates if (fit := _fit(c, split)) is not None]
    if not fits:
        return None
    best = min(fit[:2] for fit in fits)
    equal = [c for *rank, c in fits if tuple(rank) == best]
    if len(equal) > 1:
        raise DataError(
            f"{path}: several files for {split!r}: {some(c.file for c in equal)}; give the one wanted with --data"
        )
    for fit, _, other in fits:
        if fit <= _SYNONYM and other is not equal[0]:
            report.warn(f"{other.file} fits {split!r} too and is not read; {equal[0].file} is")
    return equal[0]


def _only(path: Path, split: str, candidates: Sequence[_Candidate]) -> _Candidate:
    """Return the one annotation file of a folder, if no name says a split and this one can be meant. Raises DataError.

    It is the split "train", or the one that the folder's own name says.
    """
    unnamed = [c for c in candidates if not c.splits]
    folder = path.absolute().name
    folder_says = is_split_folder(folder) and main_name(split) in splits_in(folder)
    if len(unnamed) == len(candidates) and (main_name(split) == "train" or folder_says):
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            raise DataError(
                f"{path}: several files that may be {split!r}: {some(c.file for c in candidates)}; "
                "give the one wanted with --data"
            )
    others = other_json(path)
    for file in others:
        fit = _fit(_Candidate(file, path), split)
        if fit is not None and fit <= _SYNONYM:
            raise DataError(f"{file}: not COCO annotations: expected an object with lists 'images' and 'categories'")
    if candidates:
        files = ", ".join(f"{c.file}" + ("" if c.splits else " (no split in its name)") for c in candidates[:6])
        raise DataError(
            f"{path}: no COCO annotations for {split!r}; there is {files}: give the file itself with --data, or "
            f"{split_hint(split)}"
        )
    raise DataError(
        f"{path}: no COCO annotations for {split!r}: expected {split}.json or annotations/instances_{split}*.json; "
        f"there is {some(others) + ', not COCO' if others else 'no .json file'}"
    )
