"""Locating the images of an annotation file by their names; where two files fit an image, neither is guessed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from paa.data.files.boundary import note_of_refused
from paa.data.files.finder import FileFinder, FoundFile
from paa.data.files.lookup import PathLookup
from paa.data.files.search import Search
from paa.data.read_report import ReadReport, printable
from paa.errors import DataError, ImageError

_OPTION = "name the folder of the images: --images DIR (--val-images for validation)"


@dataclass(frozen=True)
class Records:
    """The names and ids that an annotation file gives its I images."""

    file_names: Sequence[str]
    ids: Sequence[int]


@dataclass(frozen=True)
class Located:
    """Where I images are. root: the folder that file_names are relative to. found (I,): whether the file was found."""

    root: Path
    file_names: list[str]
    found: npt.NDArray[np.bool_]


def locate_images(search: Search, records: Records, report: ReadReport) -> Located:
    """Return the files of images; an image that is found nowhere is left out. Raises DataError.

    Folders are searched in tiers: an image is taken from the first tier that has it, there from the folder with most
    images. For an image in none of the tiers, the file whose path has the longest matching ending is taken.
    """
    locator = _Locator(search, records, report)
    if search.images is None:
        locator.find_absolute()
    locator.find_in_tiers()
    claimed = locator.find_by_endings()
    if records.file_names and not locator.image_files:
        raise locator.nothing_found()
    locator.check_shared_files()
    locator.leave_out_missing(claimed)
    return _relative(locator.image_files, len(records.file_names))


class _Locator:
    """Finds images step by step. image_files: the files found so far, by the position of the image."""

    def __init__(self, search: Search, records: Records, report: ReadReport) -> None:
        self.image_files: dict[int, FoundFile] = {}
        self._search = search
        self._records = records
        self._report = report
        self._finder = FileFinder()
        self._names = [_forms(name) for name in records.file_names]
        self._looked: list[str] = []

    def find_absolute(self) -> None:
        """Find the images whose names are absolute paths of this machine."""
        for i, forms in enumerate(self._names):
            if forms[0][:1] == "/" or (forms[0][1:2] == ":" and Path(forms[0]).is_absolute()):
                folder, _, last = forms[-1].rpartition("/")
                if (image_file := self._finder.find(folder or "/", last)) is not None:
                    self.image_files[i] = image_file

    def find_in_tiers(self) -> None:
        """Find images in the folders of each tier in turn, until all are found. Raises DataError for equal folders."""
        seen: set[str] = set()
        for tier in self._search.tiers():
            pending = self._pending()
            if not pending:
                break
            folders = list(_unseen(tier, seen))
            self._looked += folders
            hits = {folder: dict(self._hits(folder, pending)) for folder in folders}
            self._take_best(hits)

    def _hits(self, folder: str, pending: Iterable[int]) -> Iterator[tuple[int, FoundFile]]:
        """Yield which of the pending images a folder has, and where."""
        own = folder == str(self._search.file.parent)
        for i in pending:
            for form in self._names[i]:
                if ".." in form.split("/") and not own:  # such a name can only be relative to the annotations' folder
                    continue
                if (image_file := self._finder.find(folder, form)) is not None:
                    yield i, image_file
                    break

    def _take_best(self, hits: Mapping[str, Mapping[int, FoundFile]]) -> None:
        """Take each image from the folder that has most images. Raises DataError where two folders have as many."""
        file = self._search.file
        image_files: dict[int, FoundFile] = {}
        twice: dict[tuple[str, str], list[int]] = {}
        for folder in sorted(hits, key=lambda folder: -len(hits[folder])):
            for i, image_file in hits[folder].items():
                if i not in image_files:
                    image_files[i] = image_file
                elif image_files[i].path != image_file.path:
                    twice.setdefault((image_files[i].base, folder), []).append(i)
        for (first, second), images in twice.items():
            name = self._records.file_names[images[0]]
            if len(hits[first]) == len(hits[second]):
                raise DataError(f"{file}: {name} is in {first} and in {second}; {_OPTION}")
            self._report.warn(
                f"{file}: {len(images)} images, {name} first, are in {second} too; those in {first}, which has more of "
                "the images, are read"
            )
        self.image_files.update(image_files)

    def find_by_endings(self) -> dict[int, str]:
        """Find the pending images by the longest matching endings of their paths. Raises DataError where two files tie.

        A file that belongs to another image, by a longer ending or by its whole name, is not taken. Returns such files,
        by the position of the image that they were not taken for.
        """
        pending = self._pending()
        if not pending:
            return {}
        files = {image_file.path: image_file for image_file in self._search.all_files()}
        nearest = self._nearest(pending, PathLookup(files))
        taken = {image_file.path for image_file in self.image_files.values()}
        longest: dict[str, int] = {}
        for length, path in nearest.values():
            longest[path] = max(longest.get(path, 0), length)
        claimed = {i: path for i, (length, path) in nearest.items() if path in taken or length < longest[path]}
        found = {i: files[path] for i, (_, path) in nearest.items() if i not in claimed}
        self.image_files.update(found)
        self._warn_of_endings(found)
        return claimed

    def _nearest(self, pending: Iterable[int], lookup: PathLookup[str]) -> dict[int, tuple[int, str]]:
        """Return for each image that has one the file with the longest matching ending, after that ending's length."""
        nearest: dict[int, tuple[int, str]] = {}
        for i in pending:
            name = self._records.file_names[i]
            length, fitting = lookup.find_with_length(name)
            if len(fitting) > 1:
                raise DataError(f"{self._search.file}: {name} may be {fitting[0]} or {fitting[1]}; {_OPTION}")
            if fitting:
                nearest[i] = length, fitting[0]
        return nearest

    def _warn_of_endings(self, found: Mapping[int, FoundFile]) -> None:
        """Warn of images whose names have folders that do not exist."""
        names = self._records.file_names
        shortened = [i for i in found if "/" in names[i] or "\\" in names[i]]
        if shortened:
            first = shortened[0]
            self._report.warn(
                f"{self._search.file}: the paths of {len(shortened)} images do not exist in the data set; files with "
                f"the same ending are read: {found[first].path} for {names[first]}"
            )

    def nothing_found(self) -> DataError:
        """Return the error for a file none of whose images was found."""
        looked, file = self._looked, self._search.file
        where = ", ".join(looked[:4]) + (f" and {len(looked) - 4} more folders" if len(looked) > 4 else "")
        name = self._records.file_names[0]
        return DataError(printable(f"{file}: images not found: {name} is not in {where}, nor below; {_OPTION}"))

    def check_shared_files(self) -> None:
        """Warn of a name that two images have. Raises DataError for two names that lead to one file."""
        records, file = self._records, self._search.file
        first: dict[str, int] = {}
        repeated: list[tuple[int, int]] = []
        for i in sorted(self.image_files):
            other = first.setdefault(self.image_files[i].path, i)
            if other == i:
                continue
            one, two = self._names[i][-1], self._names[other][-1]
            if one != two and os.path.normpath(one) != os.path.normpath(two):
                raise DataError(
                    f"{file}: {records.file_names[other]} (image {records.ids[other]}) and {records.file_names[i]} "
                    f"(image {records.ids[i]}) both lead to {self.image_files[i].path}; {_OPTION}"
                )
            repeated.append((other, i))
        if repeated:
            other, i = repeated[0]
            self._report.warn(
                f"{file}: {len(repeated)} images have the same file as another; {records.file_names[other]} is image "
                f"{records.ids[other]} and image {records.ids[i]}"
            )

    def leave_out_missing(self, claimed: Mapping[int, str]) -> None:
        """Leave out the images that were not found. claimed: for some of them, the nearest file, another image's."""
        missing = self._pending()
        refused = note_of_refused()
        for i in missing:
            others = f", nor are {len(missing) - 1} others" if len(missing) > 1 and not self._report.skip_bad else ""
            hint = f" (the nearest file, {claimed[i]}, is another image's)" if i in claimed else ""
            image = f"image {self._records.ids[i]}, {self._records.file_names[i]}"
            self._report.leave_out(f"{self._search.file}: {image}, is not found{hint}{others}{refused}", ImageError)

    def _pending(self) -> list[int]:
        return [i for i in range(len(self._names)) if i not in self.image_files]


def _forms(name: str) -> tuple[str, ...]:
    """Return a name as it is written, and, if it has backslashes, also with slashes in their place."""
    return (name, name.replace("\\", "/")) if "\\" in name else (name,)


def _unseen(folders: Iterable[str], seen: set[str]) -> Iterator[str]:
    """Yield the folders whose real paths were not seen before, and add these to `seen`."""
    for folder in folders:
        real = os.path.realpath(folder)
        if real not in seen:
            seen.add(real)
            yield folder


def _relative(image_files: Mapping[int, FoundFile], count: int) -> Located:
    """Return the files relative to the folder in which all were found, else to the deepest folder that they share."""
    found = np.zeros(count, np.bool_)
    found[list(image_files)] = True
    root, inside = _common_root(image_files.values())
    names = [""] * count
    for i, image_file in image_files.items():
        folder = inside[image_file.folder].replace(os.sep, "/")
        names[i] = image_file.name if folder == "." else f"{folder}/{image_file.name}"
    return Located(Path(root), names, found)


def _common_root(image_files: Iterable[FoundFile]) -> tuple[str, dict[str, str]]:
    """Return a folder that all files lie in, and the path of each file's folder relative to it."""
    bases, folders = {image_file.base for image_file in image_files}, {image_file.folder for image_file in image_files}
    if len({Path(folder).is_absolute() for folder in folders}) > 1:
        full = {folder: str(Path(folder).absolute()) for folder in folders}
        root = os.path.commonpath(full.values())
        return root, {folder: os.path.relpath(full[folder], root) for folder in folders}
    if len(bases) == 1:
        (root,) = bases
        inside = {folder: os.path.relpath(folder, root or ".") for folder in folders}
        if root and not any(path.startswith("..") for path in inside.values()):
            return root, inside
    root = os.path.commonpath(folders)
    return root, {folder: os.path.relpath(folder, root or ".") for folder in folders}
