"""Writing a data set as Pascal VOC: an XML file for each image, and a list of the images of each split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from paa.data.formats.interface import Writer
from paa.data.formats.losses import lost_with_json
from paa.data.index import DatasetIndex
from paa.data.read_report import first_few
from paa.errors import DataError

_IMAGES = "JPEGImages"


def write_splits(folder: Path, splits: Mapping[str, DatasetIndex]) -> None:
    """Write Annotations/*.xml and ImageSets/Main/SPLIT.txt for images in JPEGImages.

    Boxes are 1-based and inclusive: whole numbers where they are, else decimals. A crowd is `difficult`. An image that
    several splits have by one name has one file. Raises DataError for a class whose name XML cannot hold, and where no
    split has an object: classes are named by their objects alone.
    """
    for name in next(iter(splits.values())).names:
        if name != name.strip() or not name.isprintable():
            raise DataError(
                f"class {name!r}: VOC cannot hold this name; rename the class, or convert to another format"
            )
    if not any(len(index.boxes) for index in splits.values()):
        raise DataError("VOC names classes in their objects only, and the data set has none; convert to another format")
    annotations, lists = folder / "Annotations", folder / "ImageSets" / "Main"
    annotations.mkdir()
    lists.mkdir(parents=True)
    for split, index in splits.items():
        stems = [index.path(i).stem for i in range(len(index))]
        for i, stem in enumerate(stems):
            tree = ElementTree.ElementTree(_annotation(index, i))
            ElementTree.indent(tree)
            tree.write(annotations / f"{stem}.xml", encoding="utf-8", xml_declaration=True)
        (lists / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in stems), encoding="utf-8")


def _annotation(index: DatasetIndex, i: int) -> ElementTree.Element:
    """Return the content of the annotation file of image `i`."""
    height, width = index.sizes[i].tolist()
    root = ElementTree.Element("annotation")
    _add(root, "folder", _IMAGES)
    _add(root, "filename", index.path(i).name)
    size = _add(root, "size")
    for name, value in (("width", width), ("height", height), ("depth", 3)):
        _add(size, name, str(value))
    for row in range(index.offsets[i], index.offsets[i + 1]):
        item = _add(root, "object")
        _add(item, "name", index.names[index.labels[row]])
        _add(item, "difficult", str(int(index.crowd[row])))
        box = _add(item, "bndbox")
        corners = index.boxes[row].astype(np.float64) + np.array([1, 1, 0, 0])
        for side, value in zip(("xmin", "ymin", "xmax", "ymax"), corners.tolist()):
            _add(box, side, str(int(value) if value.is_integer() else value))
    return root


def _add(parent: ElementTree.Element, name: str, text: str | None = None) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, name)
    element.text = text
    return element


def _cannot_hold(splits: Mapping[str, DatasetIndex]) -> list[str]:
    indexes = list(splits.values())
    names = indexes[0].names
    used = [name for label, name in enumerate(names) if any((index.labels == label).any() for index in indexes)]
    lost = []
    if unused := [name for name in names if name not in used]:
        lost.append(f"classes without objects ({first_few(unused)})")
    if used != sorted(used):
        lost.append("the order of classes, which are read in that of their names")
    if any((index.boxes != np.rint(index.boxes)).any() for index in indexes):
        lost.append("fractions of pixels in programs that expect whole numbers (they are written as decimals)")
    return lost + lost_with_json(splits)


WRITER = Writer("VOC", lambda split: _IMAGES, True, write_splits, _cannot_hold)
