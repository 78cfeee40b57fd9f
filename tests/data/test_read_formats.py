from __future__ import annotations

from pathlib import Path

import pytest

from paa.errors import DataError
from tests.data.formats.coco.coco_cases import coco, fails, files, put, read


def voc(folder: Path) -> None:
    for name in ("a", "b"):
        put(folder / "JPEGImages", f"{name}.jpg")
        (folder / "Annotations").mkdir(parents=True, exist_ok=True)
        (folder / "Annotations" / f"{name}.xml").write_text(
            f"<annotation><filename>{name}.jpg</filename><size><width>64</width><height>48</height></size><object>"
            "<name>cat</name><bndbox><xmin>5</xmin><ymin>6</ymin><xmax>24</xmax><ymax>15</ymax></bndbox></object>"
            "</annotation>"
        )


def yolo(folder: Path) -> None:
    put(folder / "images" / "train", "a.jpg")
    (folder / "labels" / "train").mkdir(parents=True)
    (folder / "labels" / "train" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (folder / "data.yaml").write_text("train: images/train\nval: images/train\nnames: [cat]\n")


def test_the_root_s_own_before_a_folder_s(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg")
    coco(tmp_path / "train.json")
    voc(tmp_path / "old")
    index, report = read(tmp_path)
    assert report.format == "COCO"
    assert files(index, tmp_path) == ["a.jpg", "b.jpg"]
    assert report.warnings == [f"another data set, VOC, lies in {tmp_path}/old and is not read"]
    assert fails(tmp_path, DataError, "val").startswith(f"{tmp_path}: no COCO annotations for 'val'")


def test_coco_in_a_folder_of_another_data_set(tmp_path: Path) -> None:
    voc(tmp_path)
    coco(tmp_path / "converted" / "train.json")
    index, report = read(tmp_path)
    assert report.format == "VOC"
    assert len(index) == 2
    assert f"another data set, COCO, lies in {tmp_path}/converted and is not read" in report.warnings


def test_two_formats_at_one_level(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg")
    coco(tmp_path / "train.json")
    yolo(tmp_path)
    message = fails(tmp_path, DataError)
    assert f"data sets of 2 formats, COCO in {tmp_path} and YOLO in {tmp_path}" in message
    assert "--format" in message
    assert read(tmp_path, format="coco")[1].format == "COCO"
    assert read(tmp_path, format="yolo")[1].format == "YOLO"


def test_two_formats_in_two_folders(tmp_path: Path) -> None:
    coco(tmp_path / "one" / "train.json")
    voc(tmp_path / "two")
    message = fails(tmp_path, DataError)
    assert f"COCO in {tmp_path}/one and VOC in {tmp_path}/two" in message


@pytest.mark.parametrize("text", ["lr: 0.1\n", "- a\n- b\n", ": broken ["])
@pytest.mark.parametrize("name", ["config.yaml", "data.yaml", "mkdocs.yml"])
def test_a_stray_yaml_is_no_data_set(tmp_path: Path, name: str, text: str) -> None:
    put(tmp_path, "a.jpg", "b.jpg")
    coco(tmp_path / "train.json")
    (tmp_path / name).write_text(text)
    assert read(tmp_path)[1].format == "COCO"
