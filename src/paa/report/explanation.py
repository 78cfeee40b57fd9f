"""Writing what an assignment does with a data set: assignment.json with every number, assignment.html, pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from PIL import Image

from paa.data.images.read import read_image
from paa.data.index import DatasetIndex
from paa.errors import ImageError
from paa.explanation.objects import ObjectAssignment
from paa.explanation.picture import draw_assignment
from paa.explanation.plain import level_to_plain, to_plain
from paa.explanation.summary import Gatherer, Summary
from paa.report.image_names import file_name
from paa.runtime.files import whole_file

JSON, PAGE = "assignment.json", "assignment.html"


@dataclass(frozen=True)
class Explained:
    """What a page and its file of numbers are about, and the numbers over all objects.

    what: the checkpoint; data, split: the data set; rule: the name of the assignment rule. shown: the objects that the
    page shows. images: how many there were; crowds: annotations of them that are no objects of an assignment.
    """

    what: str
    data: str
    split: str
    rule: str
    index: DatasetIndex
    images: int
    crowds: int
    summary: Summary
    shown: list[ObjectAssignment]


class Fewest:
    """Keeps the objects with the fewest positives, then the fewest candidates, then the anchors that fit least."""

    def __init__(self, most: int) -> None:
        self._most, self._kept = most, list[ObjectAssignment]()

    def add(self, one: ObjectAssignment) -> None:
        """Take an object."""
        self._kept.append(one)
        if len(self._kept) >= 2 * self._most + 100:
            self._kept = self.kept()

    def kept(self) -> list[ObjectAssignment]:
        """Return the objects, that with the fewest positives first."""

        def order(one: ObjectAssignment) -> tuple[Any, ...]:
            return one.positives, len(one.candidates), one.best_overlap, one.image, one.row

        return sorted(self._kept, key=order)[: self._most]


def write_numbers(
    folder: Path,
    objects: Iterable[ObjectAssignment],
    index: DatasetIndex,
    about: tuple[str, str, str, str],
    most: int,
    images: Callable[[], int],
) -> Explained:
    """Write assignment.json object by object, and return what the page shows; at most `most` objects stay in memory.

    about: checkpoint, data set, split and rule, as in `Explained`. images: the number of images that were read, asked
    for at the end.
    """
    gatherer, fewest = Gatherer(), Fewest(most)
    what, data, split, rule = about
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / JSON) as temporary, temporary.open("w", encoding="utf-8") as file:
        header = {"checkpoint": what, "data": data, "split": split, "assigner": rule}
        file.write(json.dumps(header, indent=1)[:-2] + ',\n "objects": [')
        _write_objects(file, objects, index, gatherer, fewest)
        summary, read, crowds = gatherer.summary(), images(), int(index.crowd.sum())
        footer = {
            "images": read,
            "crowds": crowds,
            "levels": [level_to_plain(level) for level in summary.levels],
            "summary": summary_to_plain(summary),
        }
        file.write("\n ],\n" + json.dumps(footer, indent=1)[2:] + "\n")
    return Explained(*about, index, read, crowds, summary, fewest.kept())


def _write_objects(
    file: TextIOWrapper,
    objects: Iterable[ObjectAssignment],
    index: DatasetIndex,
    gatherer: Gatherer,
    fewest: Fewest,
) -> None:
    separator = "\n"
    for one in objects:
        file.write(f"{separator}  {json.dumps({**object_names(one, index), **to_plain(one)}, separators=(',', ':'))}")
        separator = ",\n"
        gatherer.add(one)
        fewest.add(one)


def object_names(one: ObjectAssignment, index: DatasetIndex) -> dict[str, Any]:
    """Return what names an object: image, position among the image's annotations from 1, class."""
    return {
        "image_id": int(index.image_ids[one.image]),
        "file": file_name(index, one.image),
        "annotation": one.row - int(index.offsets[one.image]) + 1,
        "class": index.names[one.label],
    }


def summary_to_plain(summary: Summary) -> dict[str, Any]:
    """Return the numbers over all objects as plain values."""
    values = {name: value for name, value in asdict(summary).items() if name not in ("levels", "separations")}
    return {**values, "counts": list(summary.counts)}


def write_pictures(folder: Path, shown: Iterable[ObjectAssignment], index: DatasetIndex) -> list[Path]:
    """Write a PNG of each of these objects whose image can be read; return the files.

    Pictures of an earlier call, which may show other objects, are removed.
    """
    written = []
    for number, one in enumerate(shown, start=1):
        try:
            pixels = read_image(index.path(one.image))
        except ImageError:
            continue
        names = object_names(one, index)
        title = f"{names['class']}: {one.positives} of {len(one.candidates)} candidates are positive"
        path = folder / f"assignment-{number}.png"
        # a third of the bytes; of Pillow's methods the one that keeps the levels' colours as they are
        picture = draw_assignment(pixels, one, title).quantize(256, Image.Quantize.FASTOCTREE)
        with whole_file(path) as temporary:
            picture.save(temporary, "PNG", optimize=True)
        written.append(path)
    for path in folder.glob("assignment-*.png"):
        if path not in written and path.stem.removeprefix("assignment-").isdecimal():
            path.unlink()
    return written
