"""Inputs that people reported, each made again, with the right result or message."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from paa.config import DataConfig
from paa.errors import AnnotationError, ConfigError, DataError, ImageError
from paa.training.run_data import read_data
from tests.data.data_files import box
from tests.data.formats.coco.coco_files import (
    BOXES,
    CLASSES,
    CORNERS,
    coco_file,
    fails,
    files,
    images,
    mentioned,
    read,
    write_images,
)

AB = ["a.jpg", "b.jpg"]


def is_read(path: Path, folder: Path, expected: list[str], *warnings: str, split: str = "train") -> None:
    """Check the files and boxes of a split, and that there are as many warnings, with these words."""
    index, report = read(path, split)
    assert files(index, folder) == expected
    assert index.boxes.tolist() == CORNERS
    assert index.labels.tolist() == [0, 1]
    assert index.areas.tolist() == [200, 100]
    assert len(report.warnings) == len(warnings), report.warnings
    for words in warnings:
        assert mentioned(report.warnings, words), report.warnings


def test_coco_windows_paths_subfolders_same_names(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "seq1/frame_0.jpg", "seq2/frame_0.jpg")
    records = images(r"D:\proj\images\seq1\frame_0.jpg", r"D:\proj\images\seq2\frame_0.jpg")
    coco_file(tmp_path / "train.json", records)
    is_read(
        tmp_path, tmp_path, ["images/seq1/frame_0.jpg", "images/seq2/frame_0.jpg"], "paths of 2 images do not exist"
    )


def test_coco_same_basename_foreign_paths(tmp_path: Path) -> None:
    write_images(tmp_path, *AB)
    coco_file(tmp_path / "train.json", images(r"C:\data\x\a.jpg", r"C:\data\y\a.jpg"))
    message = fails(tmp_path, DataError)
    for part in (r"C:\data\x\a.jpg (image 1)", r"C:\data\y\a.jpg (image 2)", f"{tmp_path}/a.jpg", "--images"):
        assert part in message


def test_coco_masks_beside_images(tmp_path: Path) -> None:
    write_images(tmp_path, "masks/a.png", "pictures/a.png")
    coco_file(tmp_path / "annotations.json", images("a.png"), BOXES[:1])
    message = fails(tmp_path, DataError)
    for part in (f"{tmp_path}/masks", f"{tmp_path}/pictures", "--images"):
        assert part in message
    assert files(read(tmp_path, images=tmp_path / "pictures")[0], tmp_path) == ["pictures/a.png"]


def test_coco_images_in_two_folders(tmp_path: Path) -> None:
    write_images(tmp_path, "train2014/a.jpg", "val2014/b.jpg")
    coco_file(tmp_path / "annotations" / "instances_trainval.json")
    is_read(tmp_path, tmp_path, ["train2014/a.jpg", "val2014/b.jpg"])


def test_coco_one_image_missing(tmp_path: Path) -> None:
    write_images(tmp_path, "a.jpg")
    path = coco_file(tmp_path / "train.json")
    assert (
        fails(tmp_path, ImageError) == f"{path}: image 2, b.jpg, is not found; fix it, or go on without it: --skip-bad"
    )
    index, report = read(tmp_path, skip_bad=True)
    assert files(index, tmp_path) == ["a.jpg"]
    assert index.boxes.tolist() == CORNERS[:1]
    assert report.left_out == [f"{path}: image 2, b.jpg, is not found"]


def test_eval_val_image_missing(tmp_path: Path) -> None:
    write_images(tmp_path, *AB)
    coco_file(tmp_path / "train.json")
    coco_file(tmp_path / "val.json", images("a.jpg", "missing.jpg"))
    with pytest.raises(ImageError, match=r"val\.json: image 2, missing\.jpg, is not found"):
        read_data(DataConfig(path=tmp_path), True)
    train, val, _ = read_data(DataConfig(path=tmp_path, skip_bad=True), True)
    assert (len(train), val is not None and len(val)) == (2, 1)


def test_coco_eval_test_file_default_split(tmp_path: Path) -> None:
    write_images(tmp_path, *(f"{folder}/{name}" for folder in ("train", "val", "test") for name in AB))
    path = coco_file(tmp_path / "annotations" / "instances_test2017.json")
    for split in ("val", "train", "test"):
        is_read(path, tmp_path, ["test/a.jpg", "test/b.jpg"], split=split)


def test_coco_train_file_named_other(tmp_path: Path) -> None:
    write_images(tmp_path, *(f"{folder}/{name}" for folder in ("training", "test") for name in AB))
    path = coco_file(tmp_path / "my_train_labels.json")
    for given in (path, tmp_path):
        is_read(given, tmp_path, ["training/a.jpg", "training/b.jpg"])


def test_coco_upper_case_json_suffix(tmp_path: Path) -> None:
    write_images(tmp_path, *AB)
    path = coco_file(tmp_path / "train.JSON")
    is_read(tmp_path, tmp_path, AB)
    assert f"there is {path}" in fails(tmp_path, DataError, "val")
    with pytest.raises(ConfigError, match="one annotation file"):
        read_data(DataConfig(path=path), True, named=["val_split"])


def test_both_coco_and_voc(tmp_path: Path) -> None:
    write_images(tmp_path, *AB, "old/JPEGImages/a.jpg", "old/JPEGImages/b.jpg")
    coco_file(tmp_path / "train.json")
    for name in ("a", "b"):
        file = tmp_path / "old" / "Annotations" / f"{name}.xml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"<annotation><filename>{name}.jpg</filename></annotation>")
    is_read(tmp_path, tmp_path, AB, f"another data set, VOC, lies in {tmp_path}/old and is not read")


def test_coco_with_stray_yaml(tmp_path: Path) -> None:
    write_images(tmp_path, *AB)
    for split in ("train", "val"):
        coco_file(tmp_path / f"{split}.json")
    (tmp_path / "config.yaml").write_text("lr: 0.1\nbackbone: resnet50\n")
    for split in ("train", "val"):
        is_read(tmp_path, tmp_path, AB, split=split)


@pytest.mark.parametrize("places", [("images", "annotations"), ("annotations",)])
def test_coco_string_image_ids(tmp_path: Path, places: tuple[str, ...]) -> None:
    write_images(tmp_path, *AB)
    ids = ["0", "1"] if "images" in places else [0, 1]
    coco_file(tmp_path / "train.json", images(*AB, ids=ids), [{**a, "image_id": str(i)} for i, a in enumerate(BOXES)])
    is_read(tmp_path, tmp_path, AB)
    assert read(tmp_path)[0].image_ids.tolist() == [0, 1]


def test_coco_string_image_ids_not_numbers(tmp_path: Path) -> None:
    write_images(tmp_path, *AB)
    path = coco_file(tmp_path / "train.json", images(*AB, ids=("0000001_02999_d_0000005", "x2")))
    message = fails(tmp_path, AnnotationError)
    assert f'{path}: images[0] (a.jpg) has id "0000001_02999_d_0000005", which is not a whole number' in message


def test_coco_area_empty_string(tmp_path: Path) -> None:
    write_images(tmp_path, *AB)
    coco_file(tmp_path / "train.json", annotations=[{**BOXES[0], "area": ""}, BOXES[1]])
    is_read(tmp_path, tmp_path, AB, "1 annotations have an unusable area, the box's is taken; first annotation 1")


def test_coco_iscrowd_word(tmp_path: Path) -> None:
    write_images(tmp_path, *AB)
    annotations = [{**a, "iscrowd": word} for a, word in zip(BOXES, ("false", "true"))]
    path = coco_file(tmp_path / "train.json", annotations=annotations)
    assert f'{path}: annotation 1 (image 1) has iscrowd "false"' in fails(tmp_path, AnnotationError)
    _, report = read(tmp_path, skip_bad=True)
    assert mentioned(report.left_out, "annotation 2", 'iscrowd "true"')


def test_coco_bbox_xyxy(tmp_path: Path) -> None:
    write_images(tmp_path, *AB)
    annotations = [{**a, "bbox": b} for a, b in zip(BOXES, ([40, 30, 60, 47], [30, 20, 40, 30]))]
    path = coco_file(tmp_path / "train.json", annotations=annotations)
    assert read(tmp_path)[1].warnings == [
        f"{path}: 2 of 2 boxes leave their image by more than a pixel and are cut there; "
        "are they corners, and not x, y, width and height?"
    ]


def test_coco_normalised_bbox(tmp_path: Path) -> None:
    write_images(tmp_path, *AB)
    annotations = [{**a, "bbox": b} for a, b in zip(BOXES, ([0.1, 0.1, 0.3, 0.3], [0.5, 0.5, 0.1, 0.1]))]
    path = coco_file(tmp_path / "train.json", annotations=annotations)
    assert read(tmp_path)[1].warnings == [
        f"{path}: 2 of 2 boxes have a side below one pixel; are they fractions of the image's size, and not pixels?"
    ]


@pytest.mark.parametrize("group", ["dog", "pets"])
def test_coco_roboflow_supercategory(tmp_path: Path, group: str) -> None:
    classes = [{"id": 0, "name": group, "supercategory": "none"}, *({**c, "supercategory": group} for c in CLASSES)]
    for folder in ("train", "valid", "test"):
        write_images(tmp_path / folder, *AB)
        coco_file(tmp_path / folder / "_annotations.coco.json", categories=classes)
    for split, folder in (("train", "train"), ("val", "valid"), ("test", "test")):
        is_read(tmp_path, tmp_path, [f"{folder}/{name}" for name in AB], f"{group} (id 0) is no class", split=split)
    train, val, _ = read_data(DataConfig(path=tmp_path), True)
    assert train.names == ("cat", "dog")
    assert val is not None
    assert val.names == ("cat", "dog")


def test_coco_rle_without_bbox(tmp_path: Path) -> None:
    write_images(tmp_path, *AB)
    masked: dict[str, Any] = {**BOXES[0], "segmentation": {"size": [48, 64], "counts": [100, 50, 2922]}}
    del masked["bbox"]
    coco_file(tmp_path / "train.json", annotations=[masked, BOXES[1]])
    index, report = read(tmp_path)
    assert index.boxes.tolist() == [[2, 0, 4, 48], CORNERS[1]]
    assert mentioned(report.warnings, "1 annotations have no bbox but a mask, whose box is taken")


def test_coco_utf16(tmp_path: Path) -> None:
    write_images(tmp_path, *AB)
    coco_file(tmp_path / "train.json", encoding="utf-16")
    is_read(tmp_path, tmp_path, AB)


def test_coco_unicode_nfd(tmp_path: Path) -> None:
    name = unicodedata.normalize("NFD", "café.jpg")
    write_images(tmp_path, name)
    coco_file(tmp_path / "train.json", images(unicodedata.normalize("NFC", name)), BOXES[:1])
    assert files(read(tmp_path)[0], tmp_path) == [name]


def test_coco_collision_geti(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "frame000066.png")
    records = images("frame000066.png", "frame000066.png", ids=(1, 51))
    coco_file(tmp_path / "train.json", records, [BOXES[0], box(2, 51, (30, 20, 10, 10), 2, area=100)])
    is_read(
        tmp_path,
        tmp_path,
        ["images/frame000066.png"] * 2,
        "1 images have the same file as another; frame000066.png is image 1 and image 51",
    )


def test_coco_labelstudio_116(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "cb0618f6-a.png", "cb0618f6-b.png")
    base = "..\\..\\label-studio\\label-studio\\media\\upload\\4\\cb0618f6-"
    path = coco_file(tmp_path / "result.json", images(f"{base}a.png", f"{base}b.png"))
    for given in (tmp_path, path):
        is_read(given, tmp_path, ["images/cb0618f6-a.png", "images/cb0618f6-b.png"], "paths of 2 images do not exist")
    message = fails(tmp_path, DataError, "val")
    for part in (str(path), "--val-data", "--val-batch-size 0"):
        assert part in message


@pytest.mark.parametrize("second", [17870283321406128129, 4242424242424242421])
def test_eval_uint64_ids(tmp_path: Path, second: int) -> None:
    write_images(tmp_path, *AB)
    ids = (17870283321406128128, second)
    for split in ("train", "val"):
        path = coco_file(
            tmp_path / f"{split}.json", images(*AB, ids=ids), [{**a, "image_id": i} for a, i in zip(BOXES, ids)]
        )
        message = fails(tmp_path, AnnotationError, split)
        assert message.startswith(f"{path}: images[0] (a.jpg) has id 17870283321406128128, which does not fit int64")


def test_eval_val_new_class(tmp_path: Path) -> None:
    write_images(tmp_path, *AB)
    coco_file(tmp_path / "train.json")
    coco_file(tmp_path / "val.json", categories=[*CLASSES, {"id": 3, "name": "bird"}])
    with pytest.raises(DataError, match=r"val\.json: class 'bird' is unknown to the model.*--skip-bad"):
        read_data(DataConfig(path=tmp_path), True)
    _, val, _ = read_data(DataConfig(path=tmp_path, skip_bad=True), True)
    assert val is not None
    assert val.boxes.tolist() == CORNERS


@pytest.mark.parametrize("file", ["Annotations/train.json", "labels/train.json"])
def test_layouts_of_annotations(tmp_path: Path, file: str) -> None:
    write_images(tmp_path / "images", *AB)
    path = coco_file(tmp_path / file)
    for given in (tmp_path, path):
        is_read(given, tmp_path, ["images/a.jpg", "images/b.jpg"])


CASES = Path(__file__).parents[3] / "shared" / "cases" / "data"
REFUSED = {
    "coco_same_basename_foreign_paths",
    "coco_masks_beside_pictures",
    "coco_one_picture_missing",
    "coco_iscrowd_word",
    "coco_string_image_ids_not_numbers",
    "eval_mixed_uint64_ids",
    "eval_uint64_ids",
}


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not beside the repository (../shared/cases/data)")
def test_the_cases_as_they_were_handed() -> None:
    names = [
        p.name for p in CASES.iterdir() if p.name.startswith(("coco_", "both_coco", "layout_", "roboflow", "eval_"))
    ]
    assert set(names) > REFUSED
    for name in sorted(names):
        path = CASES / name
        if name == "coco_eval_test_file_default_split":
            path = path / "annotations" / "instances_test2017.json"
        if name in REFUSED:
            fails(
                path,
                DataError
                if "path" in name or "masks" in name
                else ImageError
                if "missing" in name
                else AnnotationError,
            )
            continue
        index, report = read(path)
        assert len(index) == len(json.loads(report_text(report.annotations))["images"])


def report_text(file: str) -> str:
    content = Path(file).read_bytes()
    return content.decode(json.detect_encoding(content))
