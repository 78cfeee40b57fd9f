from __future__ import annotations

from pathlib import Path

import pytest

from paa.errors import DataError
from tests.data.formats.coco.coco_files import CORNERS, coco_file, fails, files, read, write_images


@pytest.mark.parametrize(
    "file",
    [
        "train.JSON",
        "Train.json",
        "Annotations/train.json",
        "ANNOTATIONS/Instances_Train2017.Json",
        "labels/train.json",
        "ann/my-train-labels.json",
        "json/coco_train_v2.json",
        "annotations_trainval2017/annotations/instances_train2017.json",
        "my annotations (2)/training.json",
        "export/train.json",
        "export/annotations/instances_train.json",
        "train/_annotations.coco.json",
        "train/anything.json",
        "annotations/train/anything.json",
    ],
)
def test_names_of_split_files(tmp_path: Path, file: str) -> None:
    write_images(tmp_path / "images", "a.jpg", "b.jpg")
    path = coco_file(tmp_path / file)
    (tmp_path / "package.json").write_text('{"name": "tool", "images": {}}')
    (tmp_path / "train_config.json").write_text('{"images": 5, "annotations": []}')
    index, report = read(tmp_path)
    assert report.annotations == str(path)
    assert files(index, tmp_path) == ["images/a.jpg", "images/b.jpg"]
    message = fails(tmp_path, DataError, "val")
    assert str(path) in message
    assert "--val-split" in message
    assert "--val-data" in message
    assert "--val-batch-size 0" in message


def test_the_coco_data_set_as_it_is_published(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_images(tmp_path / f"{split}2017", "a.jpg", "b.jpg")
        for kind in ("captions", "instances", "person_keypoints", "stuff"):
            coco_file(tmp_path / "annotations" / f"{kind}_{split}2017.json")
        write_images(tmp_path / "annotations" / f"panoptic_{split}2017", "a.png")
        coco_file(tmp_path / "annotations" / f"panoptic_{split}2017.json")
    coco_file(tmp_path / "annotations" / "image_info_test2017.json")
    for split in ("train", "val"):
        index, report = read(tmp_path, split)
        assert report.annotations.endswith(f"annotations/instances_{split}2017.json")
        assert index.root == tmp_path / f"{split}2017"
        assert report.warnings == []


@pytest.mark.parametrize(
    ("file", "folder"),
    [
        ("result.json", "images"),
        ("labels.json", "data"),
        ("annotations/instances_default.json", "images"),
        ("_annotations.coco.json", "."),
        ("annotations/coco.json", "."),
    ],
)
def test_the_only_file_is_the_training_set(tmp_path: Path, file: str, folder: str) -> None:
    write_images(tmp_path / folder, "a.jpg", "b.jpg")
    path = coco_file(tmp_path / file)
    index, _ = read(tmp_path)
    assert index.boxes.tolist() == CORNERS
    message = fails(tmp_path, DataError, "val")
    assert f"no COCO annotations for 'val'; there is {path} (no split in its name)" in message
    assert "--val-batch-size 0" in message


def test_a_file_of_another_kind_is_not_in_the_way(tmp_path: Path) -> None:
    write_images(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "train.json").write_text('{"lr": 0.1}')
    path = coco_file(tmp_path / "result.json")
    assert read(tmp_path)[1].annotations == str(path)
    assert "train.json: not COCO annotations" not in fails(tmp_path, DataError, "val")


def test_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "images", "a.jpg", "b.jpg")
    write_images(tmp_path / "valid", "a.jpg", "b.jpg")
    coco_file(tmp_path / "annotations" / "instances_default.json")
    coco_file(tmp_path / "valid" / "_annotations.coco.json")
    monkeypatch.chdir(tmp_path / "annotations")
    for path in (Path(), Path("instances_default.json")):
        assert files(read(path)[0], tmp_path) == ["images/a.jpg", "images/b.jpg"]
    monkeypatch.chdir(tmp_path / "valid")
    for path in (Path(), Path("_annotations.coco.json")):
        assert files(read(path, "val")[0], tmp_path) == ["valid/a.jpg", "valid/b.jpg"]


def test_the_folder_of_one_split_as_roboflow_writes_it(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        write_images(tmp_path / split, "a.jpg", "b.jpg")
        coco_file(tmp_path / split / "_annotations.coco.json")
    assert files(read(tmp_path / "valid", "val")[0], tmp_path) == ["valid/a.jpg", "valid/b.jpg"]
    assert "no COCO annotations for 'test'" in fails(tmp_path / "valid", DataError, "test")


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("annotations/instances_train2014.json", "annotations/instances_train2017.json"),
        ("train_a.json", "train_b.json"),
        ("result.json", "export.json"),
        ("first/train.json", "second/train.json"),
        ("labels/train.json", "annotations/train.json"),
    ],
)
def test_two_files_that_fit_equally(tmp_path: Path, one: str, two: str) -> None:
    write_images(tmp_path, "a.jpg", "b.jpg")
    paths = [coco_file(tmp_path / name) for name in (one, two)]
    message = fails(tmp_path, DataError)
    assert all(str(path) in message for path in paths)
    assert "name one of them" in message
    for path in paths if not one.startswith("first") else ():
        assert read(path)[1].annotations == str(path)


def test_exact_names_before_looser_ones_and_the_root_before_folders(tmp_path: Path) -> None:
    write_images(tmp_path, "a.jpg", "b.jpg")
    loose = coco_file(tmp_path / "train_old_copy.json")
    assert read(tmp_path)[1].annotations == str(loose)
    inside = coco_file(tmp_path / "annotations" / "instances_train.json")
    assert read(tmp_path)[1].annotations == str(inside)
    own = coco_file(tmp_path / "train.json")
    report = read(tmp_path)[1]
    assert report.annotations == str(own)
    assert f"{inside} fits 'train' too and is not read; {own} is" in report.warnings


def test_a_warning_of_a_data_set_in_a_folder_that_is_not_read(tmp_path: Path) -> None:
    write_images(tmp_path, "a.jpg", "b.jpg")
    coco_file(tmp_path / "train.json")
    coco_file(tmp_path / "old" / "val.json")
    assert f"another COCO data set lies in {tmp_path}/old and is not read" in read(tmp_path)[1].warnings
    assert "no COCO annotations for 'val'" in fails(tmp_path, DataError, "val")


def test_a_split_of_another_name(tmp_path: Path) -> None:
    for fold in ("fold1", "fold2"):
        write_images(tmp_path / fold, "a.jpg", "b.jpg")
        coco_file(tmp_path / f"my_{fold}.json")
    assert files(read(tmp_path, "fold2")[0], tmp_path) == ["fold2/a.jpg", "fold2/b.jpg"]


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    write_images(tmp_path, "a.jpg", "b.jpg")
    path = coco_file(tmp_path / "train.json")
    path.write_text(path.read_text()[:-20])
    assert fails(tmp_path, DataError).startswith(f"{path}: broken JSON at line 1, column ")


def test_json_of_other_tools_is_no_data_set(tmp_path: Path) -> None:
    write_images(tmp_path, "a.jpg")
    (tmp_path / "a.json").write_text('{"version": "5.0", "shapes": [], "imagePath": "a.jpg"}')
    (tmp_path / "train.json").write_text("[]")
    message = fails(tmp_path, DataError)
    assert "no data set: expected COCO" in message
    assert message.endswith(f"; {tmp_path}/a.json, {tmp_path}/train.json is not COCO")
    for split, says in (
        ("train", f"{tmp_path}/train.json: not COCO annotations: expected an object with lists 'images'"),
        ("val", f"there is {tmp_path}/a.json, {tmp_path}/train.json, not COCO"),
    ):
        assert says in fails(tmp_path, DataError, split, format="coco")
