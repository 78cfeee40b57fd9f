from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paa.data.build import RawSplit, build_index
from paa.data.classes import match_classes
from paa.data.files.text import read_text
from paa.data.formats.interface import Format, ReadRequest
from paa.data.index import DatasetIndex
from paa.data.read import FORMATS
from paa.data.read_report import ReadReport
from paa.errors import DataError
from tests.data.formats.coco.coco_files import coco_file, fails, files, read, write_images


def voc(folder: Path) -> None:
    for name in ("a", "b"):
        write_images(folder / "JPEGImages", f"{name}.jpg")
        (folder / "Annotations").mkdir(parents=True, exist_ok=True)
        (folder / "Annotations" / f"{name}.xml").write_text(
            f"<annotation><filename>{name}.jpg</filename><size><width>64</width><height>48</height></size><object>"
            "<name>cat</name><bndbox><xmin>5</xmin><ymin>6</ymin><xmax>24</xmax><ymax>15</ymax></bndbox></object>"
            "</annotation>"
        )


def yolo(folder: Path) -> None:
    write_images(folder / "images" / "train", "a.jpg")
    (folder / "labels" / "train").mkdir(parents=True)
    (folder / "labels" / "train" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (folder / "data.yaml").write_text("train: images/train\nval: images/train\nnames: [cat]\n")


def test_a_data_set_of_the_root_before_one_in_a_folder(tmp_path: Path) -> None:
    write_images(tmp_path, "a.jpg", "b.jpg")
    coco_file(tmp_path / "train.json")
    voc(tmp_path / "old")
    index, report = read(tmp_path)
    assert report.format == "COCO"
    assert files(index, tmp_path) == ["a.jpg", "b.jpg"]
    assert report.warnings == [f"another data set, VOC, lies in {tmp_path}/old and is not read"]
    assert fails(tmp_path, DataError, "val").startswith(f"{tmp_path}: no COCO annotations for 'val'")


def test_coco_in_a_folder_of_another_data_set(tmp_path: Path) -> None:
    voc(tmp_path)
    coco_file(tmp_path / "converted" / "train.json")
    index, report = read(tmp_path)
    assert report.format == "VOC"
    assert len(index) == 2
    assert f"another data set, COCO, lies in {tmp_path}/converted and is not read" in report.warnings


def test_two_formats_at_one_level(tmp_path: Path) -> None:
    write_images(tmp_path, "a.jpg", "b.jpg")
    coco_file(tmp_path / "train.json")
    yolo(tmp_path)
    message = fails(tmp_path, DataError)
    assert f"data sets of 2 formats, COCO in {tmp_path} and YOLO in {tmp_path}" in message
    assert "--format" in message
    assert read(tmp_path, format="coco")[1].format == "COCO"
    assert read(tmp_path, format="yolo")[1].format == "YOLO"


def test_two_formats_in_two_folders(tmp_path: Path) -> None:
    coco_file(tmp_path / "one" / "train.json")
    voc(tmp_path / "two")
    message = fails(tmp_path, DataError)
    assert f"COCO in {tmp_path}/one and VOC in {tmp_path}/two" in message


@pytest.mark.parametrize("text", ["lr: 0.1\n", "- a\n- b\n", ": broken ["])
@pytest.mark.parametrize("name", ["config.yaml", "data.yaml", "mkdocs.yml"])
def test_a_stray_yaml_is_no_data_set(tmp_path: Path, name: str, text: str) -> None:
    write_images(tmp_path, "a.jpg", "b.jpg")
    coco_file(tmp_path / "train.json")
    (tmp_path / name).write_text(text)
    assert read(tmp_path)[1].format == "COCO"


def test_a_new_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line for each image: its name, then x1 y1 x2 y2 of each cat."""

    def level(path: Path) -> int | None:
        return 0 if (path / "cats.tsv").is_file() else None

    def read_cats(request: ReadRequest, report: ReadReport) -> DatasetIndex:
        report.annotations, report.images = str(request.path / "cats.tsv"), str(request.path)
        lines = [line.split("\t") for line in read_text(request.path / "cats.tsv").splitlines()]
        rows = [(i, list(map(float, box.split()))) for i, (_, *boxes) in enumerate(lines) for box in boxes]
        found = RawSplit(
            source=request.path,
            root=request.path,
            classes=match_classes(request.path, ["cat"], [1], request.names, report),
            file_names=[name for name, *_ in lines],
            image_ids=np.arange(len(lines)),
            sizes=np.zeros((len(lines), 2), np.int32),
            images=np.array([image for image, _ in rows], np.int64),
            boxes=np.array([box for _, box in rows], np.float64).reshape(-1, 4),
            labels=np.zeros(len(rows), np.int64),
            crowd=np.zeros(len(rows), np.bool_),
            areas=np.full(len(rows), np.nan),
            describe=lambda row: f"box {row}",
        )
        return build_index(found, request.keep_empty, report)

    monkeypatch.setitem(FORMATS, "cats", Format("Cats", "cats.tsv", level, read_cats))
    write_images(tmp_path, "a.png", "b.png")
    (tmp_path / "cats.tsv").write_text("a.png\t1 2 11 22\t5 5 9 9\nb.png\n")
    index, report = read(tmp_path)
    assert index.boxes.tolist() == [[1, 2, 11, 22], [5, 5, 9, 9]]
    assert report.lines("train", index) == [
        f"train: Cats, annotations {tmp_path / 'cats.tsv'}, images in {tmp_path}",
        "train: 2 images (1 without objects), 2 boxes, 1 class: cat",
    ]
    (tmp_path / "cats.tsv").rename(tmp_path / "dogs.tsv")
    assert "YOLO (data.yaml) or Cats (cats.tsv)" in fails(tmp_path, DataError)
