"""Small VOC data sets made on the fly, and reading them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from paa.data.formats.voc.read import FORMAT
from paa.data.index import DatasetIndex
from tests.data.data_files import write_image
from tests.data.formats.reading import failure, reader

Object = tuple[str, tuple[float, float, float, float]]

read_voc = reader(FORMAT)
fails = failure(read_voc)


def write_xml(folder: Path, stem: str, objects: Sequence[Object] = (), size: str | None = None, more: str = "") -> None:
    """Write the annotations of an image 80 wide and 60 high, and the image."""
    items = "".join(
        f"<object><name>{name}</name>{more}<part><name>head</name></part><bndbox><xmin>{a}</xmin><ymin>{b}</ymin>"
        f"<xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for name, (a, b, c, d) in objects
    )
    size = "<size><width>80</width><height>60</height><depth>3</depth></size>" if size is None else size
    (folder / "Annotations").mkdir(parents=True, exist_ok=True)
    (folder / "Annotations" / f"{stem}.xml").write_text(f"<annotation>{size}{items}</annotation>")
    write_image(folder / "JPEGImages" / f"{stem}.png")


def write_note(file: Path, name: str = "cat", filename: str = "", path: str = "") -> Path:
    """Write an annotation file of one object in an image 80 wide and 60 high."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        f"<annotation><filename>{filename}</filename><path>{path}</path>"
        f"<size><width>80</width><height>60</height></size><object><name>{name}</name>"
        "<bndbox><xmin>11</xmin><ymin>21</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object></annotation>"
    )
    return file


def make(root: Path, *files: str) -> Path:
    """Write files by their paths: annotations (class `cat`, or `dog` for b.xml) and images."""
    for name in files:
        if name.lower().endswith(".xml"):
            write_note(root / name, "dog" if Path(name).stem == "b" else "cat")
        else:
            write_image(root / name)
    return root


def write_lists(folder: Path, **splits: str) -> None:
    """Write lists of splits, their text by their name."""
    (folder / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
    for split, text in splits.items():
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text(text)


def names(index: DatasetIndex) -> list[str]:
    """Return the images' paths below the root."""
    return [bytes(name).decode() for name in index.file_names]
