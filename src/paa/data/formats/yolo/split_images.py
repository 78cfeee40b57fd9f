"""The images of a split of a YOLO data set, from the folders, lists and images that its description names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from paa.data.files.boundary import is_inside, outside
from paa.data.files.finder import FileFinder
from paa.data.files.folders import find_folder, subfolders
from paa.data.files.image_folders import holds_images, image_files, leave_out_links
from paa.data.files.paths import path_exists, path_parts
from paa.data.files.split_folders import missing_split, split_folders, split_hint
from paa.data.files.splits import SPLIT_NAMES, is_other_split, is_split, split_names, split_of
from paa.data.formats.yolo.description import Description
from paa.data.formats.yolo.lists import ImageList
from paa.data.images.decoders import decodable_suffixes
from paa.data.read_report import ReadReport, first_few
from paa.errors import DataError

_UPWARDS = re.compile(r"^(?:\.\./)+")
_DEEPEST = 64  # folders inside each other


def split_images(description: Description, split: str, images: Path | None, report: ReadReport) -> list[Path]:
    """Return the images of a split, each once, in the order of its folders and lists.

    images: the folder of the images, instead of those that the description names. Raises DataError for a split or a
    place that is missing, and for two places that fit equally well.
    """
    source, entries = description.source, description.entries
    key = next((name for name in _keys(description, split) if entries.get(name)), None)
    if key is None:
        raise missing_split(source, split, [name for name, items in entries.items() if items and split_of(name)])
    places = _Places(description, images, report)
    found: dict[Path, None] = {}
    repeated = 0
    for item in entries[key]:
        place = places.find(key, item)
        if place.is_dir():
            folder = find_folder(place, ("images",))
            holder = folder if folder and not holds_images(place) else place
            files = image_files(holder, report, recursive=True)
            leave_out_links(holder, report)
        elif place.suffix.lower() in decodable_suffixes():
            files = [place]
        else:
            bases = dict.fromkeys([description.root, *description.bases])
            files = list(ImageList(place, tuple(bases), images, report).images())
        repeated += sum(file in found for file in files) + len(files) - len(set(files))
        found.update(dict.fromkeys(files))
    if repeated:
        report.warn(f"{source}: {repeated} images are named more than once in {key!r}; each is read once")
    if not found:
        raise DataError(f"{source}: no images in {split!r} ({first_few(entries[key])})")
    return list(found)


def _keys(description: Description, split: str) -> list[str]:
    """Return the keys that may stand for a split, its own name first; folders may have it in other capitals."""
    return [*split_names(split), *(key for key in description.entries if is_split(key, split))]


class _Places:
    """Finds the folders, lists and images that a description names.

    An entry may be written for another machine. Then the longest ending of its path that exists in the data set is
    taken, unless it lies in the folder of another split, or another split's entry would lead to the same place.
    """

    def __init__(self, description: Description, images: Path | None, report: ReadReport) -> None:
        self._description = description
        self._images = images
        self._report = report
        self._finder = FileFinder()

    def find(self, key: str, item: str) -> Path:
        """Return the folder or file that an entry of a split stands for. Raises DataError if there is none."""
        found, is_shortened = self._locate(key, item)
        if is_shortened:
            self._check_other_splits(key, item, found)
            self._report.warn(
                f"{self._description.source}: {key!r} names {item}, which does not exist; {found} is read instead"
            )
        if self._images is not None and found.is_dir():
            return self._named_folder(self._images, key, item)
        return found

    def _locate(self, key: str, item: str) -> tuple[Path, bool]:
        """Return a place, and whether only an ending of its path was found."""
        text = item if path_exists(Path(item)) else item.replace("\\", "/")
        if (place := self._as_written(key, item, text)) is not None:
            return place, False
        if self._images is not None:
            return self._images, False
        return self._by_ending(key, item, text)

    def _as_written(self, key: str, item: str, text: str) -> Path | None:
        """Return the place at the path itself. Raises DataError for one outside, and a path upwards that fits twice."""
        source, bases = self._description.source, self._description.bases
        existing = [path for base in (self._description.root, *bases) if path_exists(path := base / text)]
        literal = [path for path in existing if is_inside(path)]
        shortened = bases[0] / _UPWARDS.sub("", text)  # Roboflow writes ../train/images for train/images
        if _UPWARDS.match(text) and path_exists(shortened) and is_inside(shortened):
            if literal and not literal[0].samefile(shortened):
                raise DataError(f"{source}: {key!r} names {item}, which is {literal[0].resolve()} or {shortened}")
            return shortened
        if existing and not literal and self._images is None:
            raise DataError(f"{source}: {key!r} names {item}, which {outside(existing[0])}")
        return literal[0] if literal else None

    def _by_ending(self, key: str, item: str, text: str) -> tuple[Path, bool]:
        """Return the place of the longest ending of a path that exists, and whether an unusual part was cut off.

        Raises DataError if no place fits, or two fit equally well.
        """
        source = self._description.source
        parts = _downward_parts(f"{self._description.path}/{text}")
        for start in range(len(parts)):
            for folders in self._near_folders():
                near = {place.resolve(): place for place in self._in_folders(folders, parts[start:], key)}
                if len(near) > 1:
                    raise DataError(f"{source}: {key!r} names {item}, which may be {first_few(near.values())}")
                if near:
                    is_usual = start == 0 or (start == 1 and parts[0] == "data")  # darknet's data/ never exists
                    return next(iter(near.values())), not is_usual
        raise DataError(
            f"{source}: {key!r} names {item}, which does not exist ({self._description.root / text}); {split_hint(key)}"
        )

    def _near_folders(self) -> Iterator[list[Path]]:
        bases = self._description.bases
        yield list(bases)
        yield [child for base in bases for child in subfolders(base)]

    def _in_folders(self, folders: list[Path], parts: list[str], key: str) -> Iterator[Path]:
        """Yield the places with this ending in the folders, without those in a folder of another split."""
        for folder in folders:
            place = self._finder.find_any(folder, parts)
            if place is not None and not self._is_of_another_split(key, place):
                yield place

    def _is_of_another_split(self, key: str, place: Path) -> bool:
        base = next((base for base in self._description.bases if place.is_relative_to(base)), place.parent)
        return any(is_other_split(part, key) for part in place.relative_to(base).parts)

    def _check_other_splits(self, key: str, item: str, found: Path) -> None:
        """Raise DataError if another split's entry, of another text, leads to the same place."""
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

    def _named_folder(self, images: Path, key: str, item: str) -> Path:
        """Return the folder below `images` that an entry means: one of the same ending, or named as the split."""
        parts = _downward_parts(item)
        for start in range(len(parts)):
            if (place := self._finder.find_any(images, parts[start:])) and place.is_dir():
                return place
        splits = split_folders(images)
        named = [folder for folder, split in splits.items() if is_split(split, key)]
        if len(named) == 1:
            return named[0]
        entries = self._description.entries
        others = [entry for name, entry in entries.items() if name in SPLIT_NAMES and name != key]
        if splits or any(entry and entry != entries[key] for entry in others):
            raise DataError(f"{images}: has no folder for {key!r} ({item}) of {self._description.source}")
        return images


def _downward_parts(path: str) -> list[str]:
    """Return the parts of a path without those upwards: the last ones, as each of their endings is looked for."""
    return [part for part in path_parts(path) if part != ".."][-_DEEPEST:]
