"""Small YOLO data sets made on the fly, and reading them."""

from __future__ import annotations

from pathlib import Path

from paa.data.formats.yolo.read import FORMAT
from paa.data.index import DatasetIndex
from paa.data.read_report import ReadReport
from tests.data.data_files import write_image
from tests.data.formats.reading import failure, reader

ROW = "0 0.5 0.5 0.25 0.5\n"
BOX = [30, 15, 50, 45]
"""The box of ROW in pixels."""
YAML = "train: images/train\nval: images/val\nnames: [cat, dog]\n"
LABELS = {"a": "0 0.5 0.5 0.25 0.5\n1 0.1 0.1 0.4 0.1\n", "b": "1 0.1 0.2 0.5 0.2 0.5 0.6 0.3 0.9\n"}

read_yolo = reader(FORMAT)
fails = failure(read_yolo)


def write_set(
    folder: Path, text: str, images: str = "images/train", labels: str = "labels/train", **files: str
) -> Path:
    """Write data.yaml, an image 80 wide and 60 high for a, b and c, and label files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data.yaml").write_text(text)
    for stem in ("a", "b", "c"):
        write_image(folder / images / f"{stem}.png")
    (folder / labels).mkdir(parents=True, exist_ok=True)
    for stem, lines in (files or LABELS).items():
        (folder / labels / f"{stem}.txt").write_text(lines)
    return folder


def make(root: Path, *files: str, **texts: str) -> Path:
    """Write files by their paths: images, label files of one row, and others with the text given by their stem."""
    for name in files:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix.lower() in (".txt", ".yaml", ".yml", ".data", ".names", ".labels"):
            file.write_text(texts.get(file.stem.strip("_"), ROW))
        else:
            write_image(file)
    return root


def usual(root: Path) -> Path:
    """Write images and labels of the splits train (a) and val (b)."""
    return make(root, "images/train/a.png", "labels/train/a.txt", "images/val/b.png", "labels/val/b.txt")


def names(index: DatasetIndex) -> list[str]:
    """Return the images' paths below the root."""
    return [bytes(name).decode() for name in index.file_names]


def write_pair(root: Path, *files: str, text: str = ROW, more: str = "", train: str = "images") -> Path:
    """Write the images a.png, with the text as its labels, and b.png, other files, and a data.yaml."""
    make(root, "images/a.png", "images/b.png", "labels/a.txt", "labels/b.txt", *files, a=text)
    (root / "data.yaml").write_text(f"train: {train}\nnames: [cat, dog]\n{more}\n")
    return root


def boxes_of_first(root: Path, report: ReadReport | None = None) -> list[list[float]]:
    """Return the boxes of the first training image."""
    index = read_yolo(root, "train", report)
    return index.boxes[: index.offsets[1]].tolist()
