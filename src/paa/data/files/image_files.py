"""Where a data set's images are: each record's file is looked for by name, never guessed where two fit.

A folder is listed once, and only when it is needed.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt

from paa.data.files.listings import Listings, Place
from paa.data.files.splits import is_annotation_folder, is_split_folder, split_names, splits_in
from paa.data.read_report import ReadReport, printable
from paa.errors import DataError, ImageError

_CONVENTIONAL = frozenset({"image", "images", "imgs", "img", "jpegimages", "data"})
_OPTION = "name the folder of the images: --images DIR (--val-images for validation)"


@dataclass(frozen=True)
class Records:
    """What an annotation file calls its I images. file_names, ids: I of each."""

    file_names: Sequence[str]
    ids: Sequence[int]


@dataclass(frozen=True)
class Located:
    """Where I images are. root: what file_names are relative to, unless absolute. found (I,): which have a file."""

    root: Path
    file_names: list[str]
    found: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Search:
    """Where images may be. file: the annotations. splits: what its name says. hint: the split asked for.

    bases: folders that hold the images, or folders of them. images: the one folder to look in, where a person named it.
    """

    file: Path
    splits: frozenset[str]
    hint: str
    bases: Sequence[Path]
    images: Path | None = None


def locate_images(search: Search, records: Records, report: ReadReport) -> Located:
    """Return the files of images; one that is found nowhere is left out. Raises DataError.

    Folders are looked through in tiers: those named as the split, the annotations' own, the usual ones, others. The
    first tier that has an image counts, and in it the folder that has most of them. A name that is in none of them goes
    to the file with the longest matching ending of its path.
    """
    listings = Listings()
    names = [_forms(name) for name in records.file_names]
    places: dict[int, Place] = {}
    if search.images is None:
        places.update(_absolute(listings, names))
    pending = [i for i in range(len(names)) if i not in places]
    looked: list[str] = []
    seen: set[str] = set()
    for tier in _tiers(search, listings):
        if not pending:
            break
        folders = _new_folders(tier, seen)
        looked += folders
        places.update(_find_in(search, folders, listings, names, pending, report))
        pending = [i for i in pending if i not in places]
    claimed: dict[int, str] = {}
    if pending:
        near = _by_ending(search, listings, records, pending, {place.path for place in places.values()}, report)
        places.update(near.places)
        claimed = near.claimed
    if records.file_names and not places:
        where = ", ".join(looked[:4]) + (f" and {len(looked) - 4} more folders" if len(looked) > 4 else "")
        raise DataError(
            printable(
                f"{search.file}: images not found: {records.file_names[0]} is not in {where}, nor below; {_OPTION}"
            )
        )
    _check_shared_files(search.file, records, names, places, report)
    missing = [i for i in pending if i not in places]
    for i in missing:
        others = f", nor are {len(missing) - 1} others" if len(missing) > 1 and not report.skip_bad else ""
        hint = f" ({claimed[i]})" if i in claimed else ""
        report.leave_out(
            f"{search.file}: image {records.ids[i]}, {records.file_names[i]}, is not found{hint}{others}", ImageError
        )
    return _relative(places, len(names))


def _forms(name: str) -> tuple[str, ...]:
    """Return a name as it stands, and with slashes for backslashes."""
    return (name, name.replace("\\", "/")) if "\\" in name else (name,)


def _absolute(listings: Listings, names: Sequence[tuple[str, ...]]) -> Iterator[tuple[int, Place]]:
    for i, forms in enumerate(names):
        if forms[0][:1] == "/" or (forms[0][1:2] == ":" and Path(forms[0]).is_absolute()):
            folder, _, last = forms[-1].rpartition("/")
            if (place := listings.find(folder or "/", last)) is not None:
                yield i, place


def _tiers(search: Search, listings: Listings) -> Iterator[list[str]]:
    """Yield lists of folders, the most telling first; of another split than the file's none."""
    bases = [str(base) for base in ([search.images] if search.images else search.bases)]
    if search.images is not None:
        yield bases
    usual = [folder for base in bases for folder in _children(search, listings, base) if _is_usual(folder)]
    inside = [folder for base in [*bases, *usual] for folder in _children(search, listings, base)]
    exact = _exact_names(search)
    wanted = search.splits or splits_in(search.hint)
    for named in (
        [folder for folder in inside if Path(folder).name.lower() in exact],
        [folder for folder in inside if splits_in(Path(folder).name) & wanted],
    ):
        below = [child for folder in named for child in _children(search, listings, folder) if _is_usual(child)]
        yield [*named, *below]
    own = str(search.file.parent)
    if search.images is not None:
        yield [*usual, *bases]
        yield inside
    elif _in_annotation_folder(search.file):  # an image there may be a mask
        yield [*usual, *(base for base in bases if base != own)]
        yield [*inside, own]
    else:
        yield [own]
        yield [*usual, *bases]
        yield inside


def _children(search: Search, listings: Listings, folder: str) -> list[str]:
    """Return the folders in a folder that are not named as another split than the annotation file's."""
    return [str(Path(folder, name)) for name in listings.folders(folder) if not _is_other_split(search, name)]


def _in_annotation_folder(file: Path) -> bool:
    folder = file.parent.absolute()
    return is_annotation_folder(folder.name) or (
        is_split_folder(folder.name) and is_annotation_folder(folder.parent.name)
    )


def _is_other_split(search: Search, name: str) -> bool:
    said = splits_in(name)
    return bool(search.splits and said and not said & search.splits)


def _is_usual(folder: str) -> bool:
    return Path(folder).name.lower() in _CONVENTIONAL


def _exact_names(search: Search) -> frozenset[str]:
    """Return the names, in small letters, of the folders that an annotation file's name stands for."""
    if not search.splits:
        return frozenset(name.lower() for name in split_names(search.hint))
    stem = search.file.stem.lower()
    if not splits_in(stem):  # its folder's name said it
        return frozenset({search.file.parent.name.lower(), search.file.parent.parent.name.lower()})
    return frozenset(
        {stem, stem.removeprefix("instances_"), *re.findall(r"(?:trainval|train|val|test)[a-z]*\d*", stem)}
    )


def _new_folders(tier: Sequence[str], seen: set[str]) -> list[str]:
    """Return the folders of a tier, each real one once, without those seen before; `seen` grows."""
    new = []
    for folder in tier:
        real = os.path.realpath(folder)
        if real not in seen:
            seen.add(real)
            new.append(folder)
    return new


def _find_in(
    search: Search,
    folders: Sequence[str],
    listings: Listings,
    names: Sequence[tuple[str, ...]],
    pending: Sequence[int],
    report: ReadReport,
) -> dict[int, Place]:
    """Return where the pending images are in folders of one tier. Raises DataError where two have one equally well."""
    own = str(search.file.parent)
    hits: dict[str, dict[int, Place]] = {}
    for folder in folders:
        hits[folder] = {}
        for i in pending:
            for form in names[i]:
                if ".." in form and folder != own:  # relative to the annotations, or to nothing here
                    continue
                if (place := listings.find(folder, form)) is not None:
                    hits[folder][i] = place
                    break
    places: dict[int, Place] = {}
    twice: dict[tuple[str, str], list[int]] = {}
    for folder in sorted(hits, key=lambda folder: -len(hits[folder])):
        for i, place in hits[folder].items():
            if i not in places:
                places[i] = place
            elif places[i].path != place.path:
                twice.setdefault((places[i].base, folder), []).append(i)
    for (first, second), images in twice.items():
        name = names[images[0]][0]
        if len(hits[first]) == len(hits[second]):
            raise DataError(f"{search.file}: {name} is in {first} and in {second}; {_OPTION}")
        report.warn(
            f"{search.file}: {len(images)} images, {name} first, are in {second} too; "
            f"those in {first} are read, which has more of them"
        )
    return places


@dataclass(frozen=True)
class _Near:
    """What the endings of paths gave. claimed: for images without a file, why the nearest one was not taken."""

    places: dict[int, Place]
    claimed: dict[int, str]


def _by_ending(
    search: Search,
    listings: Listings,
    records: Records,
    pending: Sequence[int],
    taken: set[str],
    report: ReadReport,
) -> _Near:
    """Find images by the longest ending of their paths that a file's path has too. Raises DataError where two tie.

    taken: files of other images, which were found by their whole names.
    """
    by_name: dict[str, list[Place]] = {}
    for place in _walk(search, listings):
        by_name.setdefault(_key(place.name), []).append(place)
    best: dict[int, tuple[tuple[int, int], Place]] = {}
    for i in pending:
        parts = _parts(records.file_names[i])
        scored = [(_agreement(parts, place), place) for place in by_name.get(_key(parts[-1]) if parts else "", ())]
        if not scored:
            continue
        score = max(scored, key=lambda pair: pair[0])[0]
        equal = [place for other, place in scored if other == score]
        if len(equal) > 1:
            raise DataError(
                f"{search.file}: {records.file_names[i]} may be {equal[0].path} or {equal[1].path}; {_OPTION}"
            )
        best[i] = score, equal[0]
    longest: dict[str, int] = {}
    for score, place in best.values():
        longest[place.path] = max(longest.get(place.path, 0), score[0])
    places, claimed = {}, {}
    for i, (score, place) in best.items():
        if place.path in taken or score[0] < longest[place.path]:
            claimed[i] = f"the nearest file, {place.path}, is another image's"
        else:
            places[i] = place
    cut = [i for i in places if "/" in records.file_names[i] or "\\" in records.file_names[i]]
    if cut:
        report.warn(
            f"{search.file}: the paths of {len(cut)} images were cut to find them; "
            f"{records.file_names[cut[0]]} is {places[cut[0]].path}"
        )
    return _Near(places, claimed)


def _walk(search: Search, listings: Listings) -> Iterator[Place]:
    """Yield the visible files of all folders in which images may be, links followed, each real folder once."""
    folders = [(str(base), str(base)) for base in ([search.images] if search.images else reversed(search.bases))]
    seen: set[str] = set()
    while folders:
        folder, base = folders.pop()
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        yield from (Place(folder, name, base) for name in listings.files(folder) if not name.startswith("."))
        folders += [(child, base) for child in reversed(_children(search, listings, folder))]


def _parts(name: str) -> list[str]:
    return [part for part in unquote(name).replace("\\", "/").split("/") if part not in ("", ".", "..")]


def _key(part: str) -> str:
    return unicodedata.normalize("NFC", unquote(part)).casefold()


def _agreement(parts: Sequence[str], place: Place) -> tuple[int, int]:
    """Return how many parts at the end of a path agree with a file's, and how many of them to the letter."""
    own = Path(place.path).parts
    agree = 0
    while agree < min(len(parts), len(own)) and _key(parts[-1 - agree]) == _key(own[-1 - agree]):
        agree += 1
    return agree, sum(parts[-1 - k] == own[-1 - k] for k in range(agree))


def _check_shared_files(
    file: Path,
    records: Records,
    names: Sequence[tuple[str, ...]],
    places: Mapping[int, Place],
    report: ReadReport,
) -> None:
    """Warn of a name that two images have, and refuse two names that end at one file."""
    first: dict[str, int] = {}
    repeated: list[tuple[int, int]] = []
    for i in sorted(places):
        other = first.setdefault(places[i].path, i)
        if other == i:
            continue
        one, two = names[i][-1], names[other][-1]
        if one != two and os.path.normpath(one) != os.path.normpath(two):
            raise DataError(
                f"{file}: {records.file_names[other]} (image {records.ids[other]}) and {records.file_names[i]} "
                f"(image {records.ids[i]}) both end at {places[i].path}; {_OPTION}"
            )
        repeated.append((other, i))
    if repeated:
        other, i = repeated[0]
        report.warn(
            f"{file}: {len(repeated)} images have the file of another; {records.file_names[other]} is image "
            f"{records.ids[other]} and image {records.ids[i]}"
        )


def _relative(places: Mapping[int, Place], count: int) -> Located:
    """Return the files relative to the one folder that has them all, else to the folder that those have in common."""
    found = np.zeros(count, np.bool_)
    found[list(places)] = True
    bases = {place.base for place in places.values()}
    folders = {place.folder for place in places.values()}
    if len({Path(folder).is_absolute() for folder in folders}) > 1:
        full = {folder: str(Path(folder).absolute()) for folder in folders}
        root = os.path.commonpath(full.values())
        prefix = {folder: os.path.relpath(full[folder], root) for folder in folders}
    else:
        root = bases.pop() if len(bases) == 1 else ""
        prefix = {folder: os.path.relpath(folder, root or ".") for folder in folders}
        if not root or any(inside.startswith("..") for inside in prefix.values()):
            root = os.path.commonpath(folders)
            prefix = {folder: os.path.relpath(folder, root or ".") for folder in folders}
    names = [""] * count
    for i, place in places.items():
        inside = prefix[place.folder].replace(os.sep, "/")
        names[i] = place.name if inside == "." else f"{inside}/{place.name}"
    return Located(Path(root), names, found)
