"""The folder that holds the images of a place of VOC annotations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from paa.data.files.folders import subfolders
from paa.data.files.image_folders import image_files
from paa.data.files.split_folders import split_folders
from paa.data.files.splits import is_split, split_of, splits_in
from paa.data.formats.voc.places import ANNOTATION_FOLDERS, IMAGE_FOLDER_NAMES, Place
from paa.data.read_report import ReadReport, first_few
from paa.errors import DataError

_STANDARD = "jpegimages"
_USUAL = IMAGE_FOLDER_NAMES - {_STANDARD}
_NEVER = (*ANNOTATION_FOLDERS, "imagesets", "segmentationclass", "segmentationobject")


@dataclass(frozen=True)
class ImageFolder:
    """The images of a folder, with `deep` also those of the folders below.

    files: the images that can be decoded. splits: for each image, the folder named as a split that it lies in, "" for
    none. remarks: on images that cannot be decoded.
    """

    folder: Path
    files: list[Path]
    splits: dict[Path, str]
    remarks: list[str]
    deep: bool = True

    def without_other_splits(self, split: str) -> ImageFolder:
        """Return the folder without the images that lie in a folder of another split: they may have the same names."""
        own, folders = splits_in(split), set(self.splits.values())
        others = {name for name in folders if own and splits_in(name) and not own & splits_in(name)}
        files = [file for file in self.files if self.splits[file] not in others]
        return replace(self, files=files, splits={file: self.splits[file] for file in files})


def find_image_folder(place: Place, keys: Iterable[str], named: Path | None) -> ImageFolder:
    """Return the folder that holds the images of the annotation files with these keys.

    named: the folder that a person named, in which the images of a split may have a folder of their own. Otherwise the
    folder near the annotations that has images of the keys' names, more usual folders first. Raises DataError if no
    images are found, or two folders fit equally well.
    """
    if named is not None:
        own = [one for one, split in split_folders(named).items() if place.split and is_split(split, place.split)]
        return _list_images(own[0] if len(own) == 1 else named, deep=True)
    stems, beside = _stems_and_folders(place, keys)
    nearest: list[ImageFolder] = []  # those of the first tier with images, whatever their names
    for tier in _tiers(place):
        listed = [_list_images(one, deep, beside if one == place.keys else None) for one, deep in tier]
        fitting = _innermost([folder for folder in listed if any(file.stem in stems for file in folder.files)])
        if not place.split and len(fitting) > 1 and all(split_of(f.folder.name) for f in fitting):
            return _joined(place.base, fitting)
        if len(fitting) > 1:
            raise _ambiguous(place, fitting)
        if fitting:
            return fitting[0]
        if not any(folder.files for folder in nearest):
            nearest = listed or nearest
    return _only_one(place, nearest)


def _only_one(place: Place, folders: Sequence[ImageFolder]) -> ImageFolder:
    """Return the only folder with images, though no image has a key's name: annotation files may name their images."""
    with_images = [folder for folder in folders if folder.files]
    if len(with_images) > 1:
        raise _ambiguous(place, with_images)
    if with_images:
        return with_images[0]
    hint = next((f" ({remark})" for folder in folders for remark in folder.remarks), "")
    raise DataError(
        f"{place.annotations}: found no images of these annotations nearby{hint}; name their folder: --images DIR"
    )


def _stems_and_folders(place: Place, keys: Iterable[str]) -> tuple[set[str], set[Path]]:
    """Return the names of annotation files without their suffixes, and the folders that the files lie in."""
    stems: set[str] = set()
    folders: set[Path] = set()
    for key in keys:
        folder, _, stem = key.rpartition("/")
        stems.add(stem)
        folders.add(place.keys / folder)
    return stems, folders


def _tiers(place: Place) -> list[list[tuple[Path, bool]]]:
    """Return folders that may hold the images, in tiers, the most usual first, and whether the folders below count."""
    subs = [folder for folder in subfolders(place.base) if folder.name.lower() not in _NEVER]
    standard = [(folder, True) for folder in subs if folder.name.lower() == _STANDARD]
    usual = [(folder, True) for folder in subs if folder.name.lower() in _USUAL]
    inside = dict.fromkeys((place.annotations, place.keys, place.base))
    usual += [(folder, folder == place.keys and place.deep) for folder in inside if folder not in dict(usual)]
    known = {folder for folder, _ in standard + usual}
    tiers = [standard, usual, [(folder, True) for folder in subs if folder not in known]]
    if place.split:  # train/*.xml, and the images beside train/
        tiers.append([(f, True) for f in subfolders(place.base.parent) if f.name.lower() in IMAGE_FOLDER_NAMES])
    return tiers


def _list_images(folder: Path, deep: bool, only: set[Path] | None = None) -> ImageFolder:
    """Return a folder's images. only: the folders that count, as other folders may hold masks."""
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
    """Return several folders that are named as splits as one `ImageFolder`."""
    files = [file for folder in folders for file in folder.files]
    splits = {file: folder.folder.name for folder in folders for file in folder.files}
    return ImageFolder(base, files, splits, [remark for folder in folders for remark in folder.remarks])


def _ambiguous(place: Place, folders: Sequence[ImageFolder]) -> DataError:
    named = first_few(folder.folder for folder in folders)
    return DataError(
        f"{place.annotations}: images of these annotations in several folders: {named}; choose: --images DIR"
    )
