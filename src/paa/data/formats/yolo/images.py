"""The images of a split of a YOLO data set: folders, lists and single files, also by another machine's paths."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from paa.data.build import read_text
from paa.data.files.folders import (
    NameLookup,
    PathLookup,
    files_in,
    find_folder,
    holds_images,
    image_files,
    parts_of,
    path_exists,
    some,
    subfolders,
)
from paa.data.files.split_folders import is_split, missing_split, other_split, split_folders, split_hint, split_of
from paa.data.files.splits import SPLIT_NAMES, split_names
from paa.data.formats.yolo.description import Description
from paa.data.images.decoders import decodable_suffixes
from paa.data.read_report import ReadReport
from paa.errors import DataError

_UPWARDS = re.compile(r"^(?:\.\./)+")


def split_images(description: Description, split: str, images: Path | None, report: ReadReport) -> list[Path]:
    """Return the images of a split, each once, in the order of its folders and lists.

    images: the folder in which they are, instead of those that the description names. Raises DataError for a split
    or a place that is missing, and where two fit equally well.
    """
    key = next((name for name in _names(description, split) if description.entries.get(name)), None)
    if key is None:
        raise missing_split(description.source, split, [name for name in SPLIT_NAMES if description.entries.get(name)])
    places = _Places(description, images, report)
    found: dict[Path, None] = {}
    repeated = 0
    for item in description.entries[key]:
        place = places.find(key, item)
        if place.is_dir():
            folder = find_folder(place, ("images",))
            narrowed = folder if folder and not holds_images(place) else place
            files = image_files(narrowed, report, recursive=True)
        elif place.suffix.lower() in decodable_suffixes():
            files = [place]
        else:
            files = list(_Lines(place, description, images, report).images())
        repeated += sum(file in found for file in files) + len(files) - len(set(files))
        found.update(dict.fromkeys(files))
    if repeated:
        report.warn(f"{description.source}: {repeated} images are named more than once in {key!r}; each is read once")
    if not found:
        raise DataError(f"{description.source}: no images in {split!r} ({some(description.entries[key])})")
    return list(found)


def _names(description: Description, split: str) -> list[str]:
    """Return the keys that may stand for a split, its own name first; folders may have it in other capitals."""
    return [*split_names(split), *(key for key in description.entries if is_split(key, split))]


class _Places:
    """Where the places are that a description names."""

    def __init__(self, description: Description, images: Path | None, report: ReadReport) -> None:
        self._description = description
        self._images = images
        self._report = report

    def find(self, key: str, item: str) -> Path:
        """Return the folder or file that an entry stands for. Raises DataError if there is none."""
        found, is_cut = self._locate(key, item)
        if is_cut:
            self._check_other_splits(key, item, found)
            self._report.warn(
                f"{self._description.source}: {key!r} names {item}, which does not exist; read is {found}"
            )
        if self._images is not None and found.is_dir():
            return self._override(self._images, key, item)
        return found

    def _locate(self, key: str, item: str) -> tuple[Path, bool]:
        """Return a place, and whether only an ending of its path was found."""
        source, text = self._description.source, item if path_exists(Path(item)) else item.replace("\\", "/")
        bases = self._description.bases
        literal = [path for base in (self._description.root, *bases) if path_exists(path := base / text)]
        shortened = bases[0] / _UPWARDS.sub("", text)  # Roboflow writes ../train/images for train/images
        if _UPWARDS.match(text) and path_exists(shortened):
            if literal and not literal[0].samefile(shortened):
                raise DataError(f"{source}: {key!r} names {item}, which is {literal[0].resolve()} or {shortened}")
            return shortened, False
        if literal:
            return literal[0], False
        if self._images is not None:
            return self._images, False
        parts = [part for part in parts_of(f"{self._description.path}/{text}") if part != ".."]
        for start in range(len(parts)):
            for folders in (bases, [child for base in bases for child in subfolders(base)]):
                near = [place for folder in folders if (place := _near(folder, parts[start:]))]
                near = [place for place in near if not self._is_of_another_split(key, place)]
                paths = {place.resolve(): place for place in near}
                if len(paths) > 1:
                    raise DataError(f"{source}: {key!r} names {item}, which may be {some(paths.values())}")
                if paths:
                    is_cut = start > 1 or (
                        start == 1 and parts[0] != "data"
                    )  # darknet's and CVAT's data/ is never there
                    return next(iter(paths.values())), is_cut
        raise DataError(
            f"{source}: {key!r} names {item}, which does not exist ({self._description.root / text}); {split_hint(key)}"
        )

    def _is_of_another_split(self, key: str, place: Path) -> bool:
        base = next((base for base in self._description.bases if place.is_relative_to(base)), place.parent)
        return any(other_split(part, key) for part in place.relative_to(base).parts)

    def _check_other_splits(self, key: str, item: str, found: Path) -> None:
        """Raise DataError if another split's entry, of another text, ends at the same place."""
        for other, items in self._description.entries.items():
            for text in items if other in SPLIT_NAMES and other != key else []:
                try:
                    same = text != item and self._locate(other, text)[0].samefile(found)
                except (DataError, OSError):
                    continue
                if same:
                    raise DataError(
                        f"{self._description.source}: neither {key!r} ({item}) nor {other!r} ({text}) exists, and both "
                        f"end like {found}"
                    )

    def _override(self, images: Path, key: str, item: str) -> Path:
        """Return the folder below `images` that is meant by an entry: of the same ending, or named as the split."""
        parts = [part for part in parts_of(item) if part != ".."]
        for start in range(len(parts)):
            if (place := _near(images, parts[start:])) and place.is_dir():
                return place
        named = [folder for folder, split in split_folders(images).items() if is_split(split, key)]
        others = [entry for name, entry in self._description.entries.items() if name in SPLIT_NAMES and name != key]
        if len(named) == 1:
            return named[0]
        if split_folders(images) or any(entry and entry != self._description.entries[key] for entry in others):
            raise DataError(f"{images}: has no folder for {key!r} ({item}) of {self._description.source}")
        return images


class _Lines:
    """The images that a list names, a path a line."""

    def __init__(self, file: Path, description: Description, images: Path | None, report: ReadReport) -> None:
        self._file = file
        self._bases = tuple(dict.fromkeys([description.root, *description.bases]))
        self._images = images
        self._report = report
        self._listings: dict[Path, NameLookup] = {}
        self._endings: PathLookup | None = None

    def images(self) -> Iterator[Path]:
        """Yield the image of each line; one that does not exist, or fits several, is left out."""
        texts: dict[Path, str] = {}
        cut: list[Path] = []
        for number, line in enumerate(read_text(self._file).splitlines(), start=1):
            text = line.strip().strip("\"'")
            if not text:
                continue
            place, found = f"{self._file} line {number}", self._exact(text)
            if found is None:
                fitting = self._by_ending(text)
                if len(fitting) != 1:
                    fault = f"fits {fitting[0]} and {fitting[1]} alike" if fitting else "does not exist"
                    self._report.leave_out(f"{place}: {text} {fault}")
                    continue
                found = fitting[0]
                if parts_of(text)[0] != "data":
                    cut.append(found)
            if texts.setdefault(found, text) != text:
                self._report.leave_out(f"{place}: {text} and {texts[found]} both end at {found}")
                continue
            yield found
        if cut:
            self._report.warn(
                f"{self._file}: {len(cut)} paths do not exist; read are images of the same ending, such as {cut[0]}"
            )

    def _exact(self, text: str) -> Path | None:
        native = text if self._find(self._file.parent / text) else text.replace("\\", "/")
        starts = (self._file.parent, *self._bases) if self._images is None else (self._images,)
        return next((found for start in starts if (found := self._find(start / native))), None)

    def _find(self, path: Path) -> Path | None:
        """Return the file, by one listing of its folder."""
        if path.parent not in self._listings:
            try:
                self._listings[path.parent] = NameLookup(os.listdir(path.parent))  # noqa: PTH208 - names, not paths
            except OSError:
                self._listings[path.parent] = NameLookup([])
        name = self._listings[path.parent].find(path.name)
        return path.parent / name if name else None

    def _by_ending(self, text: str) -> Sequence[Path]:
        if self._endings is None:
            bases = self._bases if self._images is None else (self._images,)
            files = dict.fromkeys(file for base in bases for file in files_in(base, recursive=True))
            self._endings = PathLookup(file for file in files if file.suffix.lower() != ".txt")
        named = [part for part in parts_of(text)[:-1] if split_of(part)]
        return [file for file in self._endings.find(text) if not named or not self._is_of_another(named, file)]

    def _is_of_another(self, named: Sequence[str], file: Path) -> bool:
        """Return whether a file lies in the folder of a split that the line, which names some, does not name."""
        base = next((base for base in self._bases if file.is_relative_to(base)), file.parent)
        return any(
            all(other_split(part, str(split_of(name))) for name in named) for part in file.relative_to(base).parts
        )


def _near(base: Path, parts: Sequence[str]) -> Path | None:
    """Return the place below a folder, also by names in other capitals; None if there is none."""
    place = base
    for part in parts:
        if not path_exists(place / part):
            try:
                name = NameLookup(os.listdir(place)).find(part)  # noqa: PTH208 - names, not paths
            except OSError:
                return None
            if name is None:
                return None
            part = name
        place = place / part
    return place
