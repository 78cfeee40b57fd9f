"""Which label file an image of a YOLO data set has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from paa.data.files.boundary import is_inside, outside, was_refused
from paa.data.files.folders import files_in, find_folder, names_ending
from paa.data.files.lookup import NameLookup
from paa.data.formats.yolo.description import Description
from paa.data.images.decoders import decodable_suffixes, undecodable_suffixes
from paa.data.read_report import ReadReport, first_few
from paa.errors import DataError

_OTHER_TEXTS = frozenset(  # names of text files beside label files that are not label files
    {"classes", "predefined_classes", "labels", "train", "val", "valid", "validation", "test", "images", "notes", "obj"}
)


def find_labels(
    description: Description, split: str, images: Sequence[Path], report: ReadReport
) -> Mapping[Path, Path | None]:
    """Return the label file of each image, None for an image without one.

    Images without a label file, and label files without an image, are reported. Raises DataError if no image has one.
    """
    source = description.source
    finder = _LabelFinder()
    labels = _one_image_each({image: finder.find(image) for image in images}, report)
    for image in [image for image, file in labels.items() if file is None]:
        if link := finder.refused(image):
            report.leave_out(f"{link} {outside(link)}")
            del labels[image]
    unlabelled = [image for image, file in labels.items() if file is None]
    if labels and len(unlabelled) == len(labels):
        raise DataError(f"{source}: no labels for {split!r}: expected a file such as {finder.expected(images[0])}")
    report.unlabelled = len(unlabelled)
    if len(unlabelled) > len(labels) / 2:
        report.warn(
            f"{source}: {len(unlabelled)} of {len(labels)} images have no label file, and so no objects; expected a "
            f"file such as {finder.expected(unlabelled[0])}"
        )
    unused = finder.without_image(description.root)
    if unused:
        names = first_few(file.name for file in unused)
        report.warn(
            f"{unused[0].parent}: {len(unused)} label files have no image: {names}",
            lambda: (f"{file}: has no image" for file in unused),
        )
    return labels


@dataclass
class _Folder:
    """The text files in one folder of labels. used: those that an image has."""

    folder: Path
    names: list[str]
    lookup: NameLookup
    used: set[str] = field(default_factory=set)


class _LabelFinder:
    """Finds the label files of images: in labels/ for images/, else beside the images, else in labels/ beside them."""

    def __init__(self) -> None:
        self._of_images: dict[Path, list[_Folder]] = {}
        self._folders: dict[Path, _Folder] = {}

    def find(self, image: Path) -> Path | None:
        """Return an image's label file, None if it has none."""
        for folder in self._candidates(image.parent):
            for name in (f"{image.stem}.txt", f"{image.name}.txt"):
                if found := folder.lookup.find(name):
                    folder.used.add(found)
                    return folder.folder / found
        return None

    def refused(self, image: Path) -> str | None:
        """Return the link that would be an image's label file if it did not lead outside of the data set."""
        names = (f"{image.stem}.txt", f"{image.name}.txt")
        links = (f"{folder.folder}/{name}" for folder in self._candidates(image.parent) for name in names)
        return next(filter(was_refused, links), None)

    def expected(self, image: Path) -> Path:
        """Return where an image's label file is looked for first."""
        return self._candidates(image.parent)[0].folder / f"{image.stem}.txt"

    def without_image(self, base: Path) -> list[Path]:
        """Return the label files, in folders where others were found, that have the name of no image below `base`."""
        unused = [
            folder.folder / name
            for folder in self._folders.values()
            if folder.used
            for name in folder.names
            if name not in folder.used and not _is_other_text(name)
        ]
        if not unused:
            return []
        files = files_in(base, recursive=True)
        files += [file for parent in self._of_images for file in files_in(parent)]
        known = decodable_suffixes() | undecodable_suffixes()
        names = {name for file in files if file.suffix.lower() in known for name in (file.stem, file.name)}
        return [file for file in unused if file.stem not in names]

    def _candidates(self, parent: Path) -> list[_Folder]:
        if parent not in self._of_images:
            folders = dict.fromkeys(_label_folders(parent))
            self._of_images[parent] = [self._listed(folder) for folder in folders]
        return self._of_images[parent]

    def _listed(self, folder: Path) -> _Folder:
        if folder not in self._folders:
            is_inside(folder)  # one that is not is noted
            names = names_ending(folder, (".txt",))
            self._folders[folder] = _Folder(folder, names, NameLookup(names))
        return self._folders[folder]


def _one_image_each(found: dict[Path, Path | None], report: ReadReport) -> dict[Path, Path | None]:
    """Return the label files with one image each; images that share a file by their name are left out."""
    labels = dict(found)
    sharing: dict[Path, list[Path]] = {}
    for image, file in found.items():
        if file is not None:
            sharing.setdefault(file, []).append(image)
    for file, several in sharing.items():
        if len(several) < 2:
            continue
        exact = [image for image in several if image.stem == file.stem]
        if len(exact) == 1:  # the others have a name in other capitals, or another form of it
            labels.update(dict.fromkeys(set(several) - set(exact)))
            continue
        report.leave_out(f"{file}: is the label file of both {several[0]} and {several[1]}")
        for image in several:
            del labels[image]
    return labels


def _label_folders(parent: Path) -> Iterator[Path]:
    """Yield the folders in which the label files of a folder's images may be, the most usual first."""
    parts = list(parent.parts)
    for name in ("images", "jpegimages"):
        lower = [part.lower() for part in parts]
        if name in lower:
            last = len(parts) - 1 - lower[::-1].index(name)
            above = Path(*parts[:last])
            yield (find_folder(above, ("labels",)) or above / "labels").joinpath(*parts[last + 1 :])
    yield parent
    for place in (parent, parent.parent):
        if folder := find_folder(place, ("labels",)):
            yield folder


def _is_other_text(name: str) -> bool:
    stem = name.rpartition(".")[0].lower()
    return stem in _OTHER_TEXTS or stem.startswith(("readme", "license"))
