"""Which image of a folder a VOC annotation file belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from paa.data.files.lookup import NameLookup, PathLookup
from paa.data.files.paths import path_parts
from paa.data.formats.voc.image_folder import ImageFolder
from paa.data.formats.voc.xml import Annotation
from paa.data.images.decoders import decodable_suffixes


class ImageFinder:
    """Finds images of a folder by an annotation file's key, or by the image that the file's content names."""

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
        """Return the images that an annotation file is named after (`a.xml`, `a.jpg.xml`), in its own folder first."""
        stem = key.rpartition("/")[2]
        found = self._by_key.get(key) or self._by_stem.get(stem) or self._by_name.get(stem)
        if not found and (near := self._stems.find(stem)):
            found = self._by_stem[near]
        return found or []

    def by_content(self, annotation: Annotation) -> list[Path]:
        """Return the images that the annotation's filename names, else its path."""
        for text in (annotation.filename, annotation.path):
            if found := self._paths.find(text) or self.by_key(_stem_of(text)):
                return narrowed(found, annotation)
        return []


def narrowed(images: Sequence[Path], annotation: Annotation) -> list[Path]:
    """Return the one of several images that the annotation's path or filename names; all if neither decides."""
    for text in (annotation.path, annotation.filename) if len(images) > 1 else ():
        if len(fitting := PathLookup(images).find(text)) == 1:
            return fitting
    return list(images)


def _stem_of(text: str) -> str:
    """Return the name at the end of a path, without the suffix of an image."""
    name = (path_parts(text) or [""])[-1]
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in decodable_suffixes() else name
