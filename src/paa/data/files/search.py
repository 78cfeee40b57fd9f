"""Which folders to search for the images of an annotation file, the most likely folders first."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from paa.data.files.finder import FoundFile
from paa.data.files.folders import subfolders, walk
from paa.data.files.image_folders import IMAGE_FOLDERS
from paa.data.files.splits import is_annotation_folder, split_names, split_of, splits_in


@dataclass(frozen=True)
class Search:
    """Where the images of an annotation file may be.

    file: the annotation file. splits: the splits that its name says. requested: the split to read. bases: folders
    that hold the images, or folders of images. images: the only folder to search, where a person named one.
    """

    file: Path
    splits: frozenset[str]
    requested: str
    bases: Sequence[Path]
    images: Path | None = None

    def tiers(self) -> Iterator[list[str]]:
        """Yield lists of folders, the most likely list first, without folders of splits other than the file's.

        The lists are: the named folder; folders named as the split; the annotations' own folder; folders with a usual
        name for images, and their parents; all other folders.
        """
        bases = self._roots()
        if self.images is not None:
            yield bases
        usual = [folder for base in bases for folder in self._inside(base) if _is_usual(folder)]
        inside = [folder for base in [*bases, *usual] for folder in self._inside(base)]
        exact = self._exact_names()
        wanted = self.splits or splits_in(self.requested)
        for named in (
            [folder for folder in inside if Path(folder).name.lower() in exact],
            [folder for folder in inside if splits_in(Path(folder).name) & wanted],
        ):
            below = [child for folder in named for child in self._inside(folder) if _is_usual(child)]
            yield [*named, *below]
        own = str(self.file.parent)
        if self.images is not None:
            yield [*usual, *bases]
            yield inside
        elif _is_in_annotation_folder(self.file):  # an image beside the annotations may be a mask
            yield [*usual, *(base for base in bases if base != own)]
            yield [*inside, own]
        else:
            yield [own]
            yield [*usual, *bases]
            yield inside

    def all_files(self) -> Iterator[FoundFile]:
        """Yield the files of all folders that may hold images, each real folder once."""
        seen: set[str] = set()
        for base in self._roots():
            for folder, name in walk(base, self._may_hold_images, seen):
                yield FoundFile(folder, name, base)

    def _roots(self) -> list[str]:
        return [str(base) for base in ([self.images] if self.images else self.bases)]

    def _inside(self, folder: str) -> list[str]:
        """Return the folders in a folder that may hold images of the file."""
        return [str(child) for child in subfolders(Path(folder)) if self._may_hold_images(child.name)]

    def _may_hold_images(self, folder_name: str) -> bool:
        """Return whether a folder of this name may hold images of the file: it is not named as another split."""
        said = splits_in(folder_name)
        return not (self.splits and said and not said & self.splits)

    def _exact_names(self) -> frozenset[str]:
        """Return the names, in lower case, of the folders that an annotation file's name stands for."""
        if not self.splits:
            return frozenset(name.lower() for name in split_names(self.requested))
        stem = self.file.stem.lower()
        if not splits_in(stem):  # the splits are those that its folder's name says
            return frozenset({self.file.parent.name.lower(), self.file.parent.parent.name.lower()})
        return frozenset(
            {stem, stem.removeprefix("instances_"), *re.findall(r"(?:trainval|train|val|test)[a-z]*\d*", stem)}
        )


def _is_usual(folder: str) -> bool:
    return Path(folder).name.lower() in IMAGE_FOLDERS


def _is_in_annotation_folder(file: Path) -> bool:
    folder = file.parent.absolute()
    return is_annotation_folder(folder.name) or (
        split_of(folder.name) is not None and is_annotation_folder(folder.parent.name)
    )
