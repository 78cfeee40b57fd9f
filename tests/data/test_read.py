from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from paa.config import DataFormat
from paa.data.read import FORMATS, read_dataset
from paa.errors import DataError
from tests.data.data_files import box, coco_json, shared
from tests.data.formats.voc.voc_files import write_xml
from tests.data.formats.yolo.yolo_files import YAML, write_set


def test_the_format_is_recognised(tmp_path: Path) -> None:
    file = coco_json(tmp_path / "coco" / "train.json", [box(1, 1, (0, 0, 5, 5))])
    write_xml(tmp_path / "voc", "a", [("cat", (1, 1, 5, 5))])
    write_xml(tmp_path / "kit" / "VOC2007", "a", [("cat", (1, 1, 5, 5))])
    write_set(tmp_path / "yolo", YAML)
    for name in ("coco", "coco/train.json", "voc", "kit", "yolo", "yolo/data.yaml"):
        assert len(read_dataset(tmp_path / name).boxes) > 0
    assert len(read_dataset(file, format="coco")) == 2
    (tmp_path / "voc" / "labels.json").write_text("{}")
    assert len(read_dataset(tmp_path / "voc")) == 1


def test_coco_annotations_folder_is_not_voc(tmp_path: Path) -> None:
    coco_json(tmp_path / "annotations" / "instances_val2017.json", write_images=False)
    with pytest.raises(DataError, match="images not found"):
        read_dataset(tmp_path, "val")


@pytest.mark.parametrize(
    ("name", "format", "says"),
    [
        ("gone", None, "no such file or folder"),
        ("empty", None, "no data set: expected COCO"),
        ("notes.txt", None, "no data set"),
        ("empty", "voc", "no VOC annotations"),
        ("empty", "yolo", "no data.yaml"),
        ("empty", "coco", "no COCO annotations for 'train'"),
        ("notes.txt", "coco", "broken JSON at line 1"),
        ("notes.txt", "voc", "no VOC annotations"),
        ("notes.txt", "yolo", "expected keys"),
        ("empty", "kitti", "unknown format 'kitti': expected coco, voc, yolo"),
    ],
)
def test_what_is_wrong(tmp_path: Path, name: str, format: str | None, says: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError) as caught:
        read_dataset(tmp_path / name, format=format)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_real_data() -> None:
    assert len(read_dataset(shared("raccoon"), "val")) == 40
    assert len(read_dataset(shared("bccd"), "val", names=["WBC", "RBC", "Platelets"])) == 87


def test_the_formats_are_the_values_of_the_option() -> None:
    assert list(FORMATS) == list(get_args(DataFormat))
    assert [format.name for format in FORMATS.values()] == ["COCO", "VOC", "YOLO"]
