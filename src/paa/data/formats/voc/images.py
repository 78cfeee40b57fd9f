"""Which image an annotation file of VOC belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from paa.data.files.folders import (
    NameLookup,
    PathLookup,
    image_files,
    parts_of,
    some,
    subfolders,
)
from paa.data.files.split_folders import is_split, split_folders, split_of
from paa.data.formats.voc.layout import ANNOTATION_FOLDERS, IMAGE_FOLDERS, STANDARD_IMAGES, Place
from paa.data.formats.voc.xml import Annotation
from paa.data.images.decoders import decodable_suffixes
from paa.data.read_report import ReadReport
from paa.errors import DataError

_NEVER = (*ANNOTATION_FOLDERS, "imagesets", "segmentationclass", "segmentationobject")


@dataclass(frozen=True)
class ImageFolder:
    """A folder of images, and with `deep` those below it.

    files: those that can be decoded. splits: the folder named as a split that each lies in, "" for none.
    remarks: on files that cannot be decoded.
    """

    folder: Path
    files: list[Path]
    splits: dict[Path, str]
    remarks: list[str]
    deep: bool = True


def find_image_folder(place: Place, keys: Iterable[str], images: Path | None) -> ImageFolder:
    """Return the folder that holds the images of the annotation files with these keys.

    images: the folder that was named, in which those of a split may be apart; else the one near the annotations in
    which images of their names are.
    Raises DataError where there are none, and where two folders fit equally well.
    """
    if images is not None:
        own = [one for one, split in split_folders(images).items() if place.split and is_split(split, place.split)]
        return _listed(own[0] if len(own) == 1 else images, True)
    stems: set[str] = set()
    folders: set[Path] = set()
    for key in keys:
        folder, _, stem = key.rpartition("/")
        stems.add(stem)
        folders.add(place.keys / folder)
    seen: list[ImageFolder] = []
    for tier in _tiers(place):
        listed = [_listed(one, deep, folders if one == place.keys else None) for one, deep in tier]
        fitting = _innermost([folder for folder in listed if any(file.stem in stems for file in folder.files)])
        if not place.split and len(fitting) > 1 and all(split_of(f.folder.name) for f in fitting):
            return _joined(place.base, fitting)
        if len(fitting) > 1:
            raise _ambiguous(place, fitting)
        if fitting:
            return fitting[0]
        if not any(folder.files for folder in seen):
            seen = listed or seen
    others = [folder for folder in seen if folder.files]  # of other names: the annotations may say which
    if len(others) > 1:
        raise _ambiguous(place, others)
    if not others:
        hint = next((f" ({remark})" for folder in seen for remark in folder.remarks), "")
        raise DataError(
            f"{place.annotations}: no images of these annotations near{hint}; name their folder: --images DIR"
        )
    return others[0]


class ImageFinder:
    """Images of a folder by the keys of annotation files, and by what these say of their image."""

    def __init__(self, folder: ImageFolder) -> None:
        self._by_key: dict[str, list[Path]] = {}
        self._by_stem: dict[str, list[Path]] = {}
        self._by_name: dict[str, list[Path]] = {}
        for file in folder.files:
            key = file.relative_to(folder.folder).with_suffix("").as_posix()
            self._by_key.setdefault(key, []).append(file)
            self._by_stem.setdefault(file.stem, []).append(file)
            self._by_name.setdefault(file.name, []).append(file)
        self._stems = NameLookup(list(self._by_stem))
        self._paths = PathLookup(folder.files)

    def by_key(self, key: str) -> list[Path]:
        """Return the images that an annotation file is named after: of its folder, else of any; also `a.jpg.xml`."""
        stem = key.rpartition("/")[2]
        found = self._by_key.get(key) or self._by_stem.get(stem) or self._by_name.get(stem)
        if not found and (near := self._stems.find(stem)):
            found = self._by_stem[near]
        return found or []

    def by_content(self, annotation: Annotation) -> list[Path]:
        """Return the images that the annotation's filename names, else its path."""
        for text in (annotation.filename, annotation.path):
            if found := self._paths.find(text) or self.by_key(_stem_of(text)):
                return found if len(found) == 1 else _narrowed(found, annotation)
        return []

    def one_of(self, found: Sequence[Path], annotation: Annotation) -> list[Path]:
        """Return those of several images that the annotation itself speaks of."""
        return _narrowed(found, annotation) if len(found) > 1 else list(found)


def _narrowed(found: Sequence[Path], annotation: Annotation) -> list[Path]:
    for text in (annotation.path, annotation.filename):
        if len(fitting := PathLookup(found).find(text)) == 1:
            return fitting
    return list(found)


def _stem_of(text: str) -> str:
    """Return the name at the end of a path, without the suffix of an image."""
    name = (parts_of(text) or [""])[-1]
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in decodable_suffixes() else name


def _tiers(place: Place) -> list[list[tuple[Path, bool]]]:
    """Return folders in which the images may be, the most usual first, and whether the folders below count too."""
    subs = [folder for folder in subfolders(place.base) if folder.name.lower() not in _NEVER]
    standard = [(folder, True) for folder in subs if folder.name.lower() == STANDARD_IMAGES]
    usual = [(folder, True) for folder in subs if folder.name.lower() in IMAGE_FOLDERS]
    inside = dict.fromkeys((place.annotations, place.keys, place.base))
    usual += [(folder, folder == place.keys and place.deep) for folder in inside if folder not in dict(usual)]
    known = {folder for folder, _ in standard + usual}
    tiers = [standard, usual, [(folder, True) for folder in subs if folder not in known]]
    if place.split:  # train/*.xml, and the images beside train/
        names = (STANDARD_IMAGES, *IMAGE_FOLDERS)
        tiers.append([(f, True) for f in subfolders(place.base.parent) if f.name.lower() in names])
    return tiers


def _listed(folder: Path, deep: bool, only: set[Path] | None = None) -> ImageFolder:
    """Return a folder's images; of a folder of annotations `only` those beside them: masks may lie in others."""
    remarks = ReadReport()
    files = image_files(folder, remarks, recursive=deep)
    files = [file for file in files if only is None or file.parent in only]
    inner = [file.relative_to(folder).parts[0] if file.parent != folder else "" for file in files]
    names = {one.name: split for one, split in split_folders(folder).items()}
    splits = [names.get(name, "") for name in inner]
    if not all(splits):
        splits = [""] * len(files)
    return ImageFolder(folder, files, dict(zip(files, splits)), remarks.warnings, deep)


def _innermost(folders: Sequence[ImageFolder]) -> list[ImageFolder]:
    """Return the folders without those that another of them lies in."""
    return [one for one in folders if not any(one.folder in other.folder.parents for other in folders if one.deep)]


def _joined(base: Path, folders: Sequence[ImageFolder]) -> ImageFolder:
    """Return folders that are named as splits as one."""
    files = [file for folder in folders for file in folder.files]
    splits = {file: folder.folder.name for folder in folders for file in folder.files}
    return ImageFolder(base, files, splits, [remark for folder in folders for remark in folder.remarks])


def _ambiguous(place: Place, folders: Sequence[ImageFolder]) -> DataError:
    named = some(folder.folder for folder in folders)
    return DataError(
        f"{place.annotations}: images of these annotations in several folders: {named}; choose: --images DIR"
    )
