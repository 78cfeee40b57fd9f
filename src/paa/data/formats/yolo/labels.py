"""Label files of YOLO: which one an image has, and what its rows are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from paa.data.build import decode_text
from paa.data.files.folders import NameLookup, files_in, find_folder, names_ending
from paa.data.images.decoders import decodable_suffixes, undecodable_suffixes
from paa.data.read_report import ReadReport
from paa.errors import one_line

_LARGEST = 1.5  # a normalised coordinate may be a little over 1; one of pixels is far over it
_OTHER_TEXTS = frozenset(
    {"classes", "predefined_classes", "labels", "train", "val", "valid", "validation", "test", "images", "notes", "obj"}
)


@dataclass
class _Folder:
    """The text files in one folder of labels; used: those that an image has."""

    folder: Path
    names: list[str]
    lookup: NameLookup
    used: set[str] = field(default_factory=set)


@dataclass
class Polygons:
    """How many rows were polygons, and how many of them look like a box with keypoints behind it."""

    count: int = 0
    like_keypoints: int = 0

    def add(self, values: list[float]) -> None:
        """Count a row."""
        self.count += 1
        self.like_keypoints += any(_like_keypoints(values, size) for size in (2, 3))


class LabelFinder:
    """The label files of images: labels/ for the last images/ of the path, else beside them, else in labels/ beside."""

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

    def expected(self, image: Path) -> Path:
        """Return where an image's label file is looked for first."""
        return self._candidates(image.parent)[0].folder / f"{image.stem}.txt"

    def without_image(self, base: Path) -> list[Path]:
        """Return the label files, of the folders of those found, that no image below `base` is called like."""
        unused = [
            folder.folder / name
            for folder in self._folders.values()
            if folder.used
            for name in folder.names
            if name not in folder.used and not _is_other(name)
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
            names = names_ending(folder, (".txt",))
            self._folders[folder] = _Folder(folder, names, NameLookup(names))
        return self._folders[folder]


def assign_labels(images: Sequence[Path], finder: LabelFinder, report: ReadReport) -> dict[Path, Path | None]:
    """Return each image's label file, None for one without; images that share one by their name are left out."""
    found = {image: finder.find(image) for image in images}
    sharing: dict[Path, list[Path]] = {}
    for image, file in found.items():
        if file is not None:
            sharing.setdefault(file, []).append(image)
    for file, several in sharing.items():
        if len(several) < 2:
            continue
        exact = [image for image in several if image.stem == file.stem]
        if len(exact) == 1:  # the others have a name in other capitals, or another form of it
            found.update(dict.fromkeys(set(several) - set(exact)))
            continue
        report.leave_out(f"{file}: is the label file of both {several[0]} and {several[1]}")
        for image in several:
            del found[image]
    return found


def read_label(file: Path, report: ReadReport) -> str | None:
    """Return the text of a label file; one that is no text is left out, and None."""
    try:
        return decode_text(file.read_bytes())
    except (OSError, UnicodeDecodeError) as error:
        report.leave_out(f"{file}: cannot be read as text: {one_line(error)}")
        return None


def label_rows(
    file: Path, text: str, classes: int, keypoints: int, polygons: Polygons, report: ReadReport
) -> Iterator[tuple[str, int, list[float]]]:
    """Yield (where, label, normalised xyxy) of each line that is a box, a box with keypoints, or a polygon."""
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        place = f"{file} line {number}"
        try:
            label, *values = map(float, line.split())
        except ValueError:
            report.leave_out(f"{place} is not numbers: {line.strip():.40}")
            continue
        fault = _fault(label, values, classes, keypoints)
        if fault:
            report.leave_out(f"{place} {fault}")
        else:
            if not keypoints and len(values) > 4:
                polygons.add(values)
            yield place, int(label), _corners(values[:4] if keypoints else values)


def _fault(label: float, values: list[float], classes: int, keypoints: int) -> str:
    """Return what is wrong with a row, "" if nothing is."""
    if label not in range(classes):
        return f"has class {label:g}, but there are {classes} names"
    if keypoints and len(values) not in (4, 4 + keypoints):
        return (
            f"has {len(values)} coordinates, neither a box (4) nor one with keypoints ({4 + keypoints}, by kpt_shape)"
        )
    if not keypoints and len(values) != 4 and (len(values) < 6 or len(values) % 2):
        return f"has {len(values)} coordinates, neither a box (4) nor a polygon"
    wrong = [value for value in values if not math.isfinite(value)]
    if wrong:
        return f"has coordinate {wrong[0]:g}"
    corners = values[:4] if keypoints else values
    if max(map(abs, corners)) > _LARGEST:
        return f"has coordinate {max(corners, key=abs):g}; they must be fractions of the image's size"
    return ""


def _corners(values: list[float]) -> list[float]:
    if len(values) == 4:
        x, y, width, height = values
        return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    return [min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])]


def _like_keypoints(values: list[float], size: int) -> bool:
    """Return whether the first four numbers are a box in which all points of `size` numbers behind it are spread."""
    left, top, right, bottom = _corners(values[:4])
    rest = values[4:]
    if len(rest) % size or any(visible not in (0, 1, 2) for visible in (rest[2::3] if size == 3 else ())):
        return False
    points = [(x, y) for x, y in zip(rest[::size], rest[1::size]) if x or y]  # one that is not seen is 0 0
    if len(points) < 2:
        return False
    x, y = zip(*points)
    inside = left <= min(x) and max(x) <= right and top <= min(y) and max(y) <= bottom
    return bool(inside and max(x) - min(x) >= (right - left) / 4 and max(y) - min(y) >= (bottom - top) / 4)


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


def _is_other(name: str) -> bool:
    stem = name.rpartition(".")[0].lower()
    return stem in _OTHER_TEXTS or stem.startswith(("readme", "license"))
