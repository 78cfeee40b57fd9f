from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from paa.errors import DataError, ImageError
from tests.data.data_files import box
from tests.data.formats.coco.coco_files import (
    BOXES,
    CORNERS,
    coco_file,
    fails,
    files,
    images,
    mentioned,
    read,
    write_images,
)


@pytest.mark.parametrize(
    "base", [r"D:\proj\images", "/home/somebody/proj/images", r"..\..\export", "https://host/bucket", "file%3A/x"]
)
def test_foreign_paths_go_to_the_longest_matching_ending(tmp_path: Path, base: str) -> None:
    slash = "\\" if "\\" in base else "/"
    names = [slash.join((base, f"seq{i}", "frame_0.jpg")) for i in (2, 1)]
    write_images(tmp_path / "images", "seq1/frame_0.jpg", "seq2/frame_0.jpg", "frame_1.jpg")
    coco_file(tmp_path / "train.json", images(*names))
    index, report = read(tmp_path)
    assert files(index, tmp_path) == ["images/seq2/frame_0.jpg", "images/seq1/frame_0.jpg"]
    assert mentioned(
        report.warnings, "the paths of 2 images do not exist in the data set; files with the same ending", names[0]
    )


def test_two_records_that_lead_to_one_file(tmp_path: Path) -> None:
    write_images(tmp_path, "a.jpg", "b.jpg")
    path = coco_file(tmp_path / "train.json", images(r"C:\data\x\a.jpg", r"C:\data\y\a.jpg"))
    message = fails(tmp_path, DataError)
    assert message.startswith(
        rf"{path}: C:\data\x\a.jpg (image 1) and C:\data\y\a.jpg (image 2) both lead to {tmp_path}/a.jpg"
    )
    assert "--images" in message


def test_names_that_differ_in_case_only_do_not_share_a_file(tmp_path: Path) -> None:
    write_images(tmp_path, "a.jpg")
    coco_file(tmp_path / "train.json", images("a.jpg", "A.jpg"))
    assert "both lead to" in fails(tmp_path, DataError)
    write_images(tmp_path, "A.jpg")
    assert files(read(tmp_path)[0], tmp_path) == ["a.jpg", "A.jpg"]


def test_the_file_of_another_image_is_not_taken_for_one_that_is_missing(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "seq1/f.jpg")
    coco_file(tmp_path / "train.json", images(r"D:\x\seq1\f.jpg", r"D:\x\seq2\f.jpg"))
    message = fails(tmp_path, ImageError)
    assert r"image 2, D:\x\seq2\f.jpg, is not found (the nearest file," in message
    coco_file(tmp_path / "train.json", images("seq1/f.jpg", "seq2/f.jpg"))
    assert "image 2, seq2/f.jpg, is not found (the nearest file," in fails(tmp_path, ImageError)
    index, report = read(tmp_path, skip_bad=True)
    assert files(index, tmp_path) == ["images/seq1/f.jpg"]
    assert report.images_left_out == 1


def test_two_files_with_the_same_ending(tmp_path: Path) -> None:
    write_images(tmp_path, "one/deep/a.jpg", "two/deep/a.jpg", "one/deep/b.jpg")
    coco_file(tmp_path / "train.json")
    message = fails(tmp_path, DataError)
    assert f"a.jpg may be {tmp_path}/one/deep/a.jpg or {tmp_path}/two/deep/a.jpg; " in message
    assert "--images" in message
    index, _ = read(tmp_path, images=tmp_path / "one")
    assert files(index, tmp_path) == ["one/deep/a.jpg", "one/deep/b.jpg"]


@pytest.mark.parametrize(("one", "two"), [("masks", "pictures"), ("depth", "rgb"), ("images", "data")])
@pytest.mark.parametrize("file", ["annotations.json", "annotations/instances_default.json"])
def test_two_folders_that_fit_equally(tmp_path: Path, one: str, two: str, file: str) -> None:
    for folder in (one, two):
        write_images(tmp_path / folder, "a.jpg", "b.jpg")
    coco_file(tmp_path / file)
    message = fails(tmp_path, DataError)
    assert "a.jpg is in " in message
    assert f"{tmp_path}/{one}" in message
    assert f"{tmp_path}/{two}" in message
    assert "--images" in message
    for folder in (one, two):
        index, report = read(tmp_path, images=tmp_path / folder)
        assert files(index, tmp_path) == [f"{folder}/a.jpg", f"{folder}/b.jpg"]
        assert report.images == str(tmp_path / folder)


def test_the_folder_with_more_images_is_taken_with_a_warning(tmp_path: Path) -> None:
    write_images(tmp_path / "thumbs", "a.jpg")
    write_images(tmp_path / "photos", "a.jpg", "b.jpg")
    coco_file(tmp_path / "train.json")
    index, report = read(tmp_path)
    assert files(index, tmp_path) == ["photos/a.jpg", "photos/b.jpg"]
    assert mentioned(report.warnings, "1 images, a.jpg first, are in", "thumbs too")


def test_masks_beside_the_annotations_are_not_the_images(tmp_path: Path) -> None:
    write_images(tmp_path, "annotations/a.jpg", "annotations/b.jpg", "images/a.jpg", "images/b.jpg")
    coco_file(tmp_path / "annotations" / "train.json")
    assert files(read(tmp_path)[0], tmp_path) == ["images/a.jpg", "images/b.jpg"]


@pytest.mark.parametrize(("one", "two"), [("part1", "part2"), ("2023", "2024"), ("images", "more")])
def test_images_in_two_folders(tmp_path: Path, one: str, two: str) -> None:
    write_images(tmp_path, f"{one}/a.jpg", f"{two}/b.jpg")
    coco_file(tmp_path / "train.json")
    index, _ = read(tmp_path)
    assert files(index, tmp_path) == [f"{one}/a.jpg", f"{two}/b.jpg"]
    assert index.root == tmp_path
    assert index.boxes.tolist() == CORNERS


@pytest.mark.parametrize("name", ["instances_trainval", "trainval2014", "train_val"])
def test_trainval_is_both(tmp_path: Path, name: str) -> None:
    write_images(tmp_path, "train2014/a.jpg", "val2014/b.jpg", "test2014/a.jpg", "test2014/b.jpg")
    coco_file(tmp_path / "annotations" / f"{name}.json")
    for split in ("train", "val"):
        assert files(read(tmp_path, split)[0], tmp_path) == ["train2014/a.jpg", "val2014/b.jpg"]


@pytest.mark.parametrize(
    ("file", "folder"),
    [
        ("annotations/instances_test2017.json", "test"),
        ("annotations/instances_test2017.json", "images/test2017"),
        ("my_testing_labels.json", "Test"),
        ("annotations/instances_val2017.json", "validation"),
        ("validation.json", "val/images"),
        ("my_train_labels.json", "training"),
        ("train_annotations.json", "train_images"),
        ("TrainLabels.json", "images/Train"),
        ("labels/train/coco.json", "images/train"),
        ("train/annotations/coco.json", "train/images"),
        ("train/labels.json", "train/data"),
        ("test/_annotations.coco.json", "test"),
    ],
)
def test_a_file_is_the_split_that_its_name_says(tmp_path: Path, file: str, folder: str) -> None:
    path, top = coco_file(tmp_path / file), folder.split("/")[0]
    split = next(s for s in ("train", "val", "test") if s in file.lower())
    write_images(tmp_path / folder, "a.jpg", "b.jpg")
    others = {"train": "train2017", "val": "val2017", "test": "test2017"}
    for other in {"train", "val", "test"} - {split}:
        write_images(tmp_path / (top if top == "images" else "") / others[other], "a.jpg", "b.jpg")
    expected = [f"{folder}/a.jpg", f"{folder}/b.jpg"]
    for asked in ("train", "val", "test"):
        index, report = read(path, asked)
        assert files(index, tmp_path) == expected
        assert report.lines(asked, index)[0].startswith(f"{split}: COCO, annotations {path}, images in ")
    assert files(read(tmp_path, split)[0], tmp_path) == expected


def test_images_of_another_split_are_never_taken(tmp_path: Path) -> None:
    write_images(tmp_path, "test/a.jpg", "test/b.jpg", "images/val2017/a.jpg", "old/test/b.jpg")
    path = coco_file(tmp_path / "train.json")
    assert fails(tmp_path, DataError).startswith(f"{path}: images not found: a.jpg is not in ")


def test_a_file_that_says_no_split_takes_the_split_asked_for(tmp_path: Path) -> None:
    write_images(tmp_path, "train/a.jpg", "train/b.jpg", "test/a.jpg", "test/b.jpg")
    path = coco_file(tmp_path / "labels.json")
    for split in ("train", "test"):
        assert files(read(path, split)[0], tmp_path) == [f"{split}/a.jpg", f"{split}/b.jpg"]
    message = fails(path, DataError, "val")
    assert f"{tmp_path}/train" in message
    assert f"{tmp_path}/test" in message


@pytest.mark.parametrize(
    ("written", "on_disk"),
    [
        (unicodedata.normalize("NFC", "café.jpg"), unicodedata.normalize("NFD", "café.jpg")),
        (unicodedata.normalize("NFD", "é/ü.jpg"), unicodedata.normalize("NFC", "é/ü.jpg")),
        ("my%20photo%231.jpg", "my photo#1.jpg"),
        ("my%20set/a.jpg", "my set/a.jpg"),
        ("IMG_1.JPG", "img_1.jpg"),
        ("Set/A.jpg", "set/a.JPG"),
        (r"set\a.jpg", "set/a.jpg"),
        ("./set/./a.jpg", "set/a.jpg"),
        ("100%.jpg", "100%.jpg"),
        ("a%20b.jpg", "a%20b.jpg"),
    ],
)
def test_names_that_differ_a_little(tmp_path: Path, written: str, on_disk: str) -> None:
    write_images(tmp_path / "images", on_disk)
    coco_file(tmp_path / "train.json", images(written), BOXES[:1])
    index, _ = read(tmp_path)
    assert files(index, tmp_path) == [f"images/{on_disk}"]


def test_two_names_of_which_one_is_the_other_decoded(tmp_path: Path) -> None:
    write_images(tmp_path, "a%20b.jpg", "a b.jpg")
    coco_file(tmp_path / "train.json", images("a%20b.jpg", "a b.jpg"))
    assert files(read(tmp_path)[0], tmp_path) == ["a%20b.jpg", "a b.jpg"]


def test_relative_to_the_annotations(tmp_path: Path) -> None:
    write_images(tmp_path, "set/images/a.jpg", "set/images/b.jpg", "images/a.jpg", "images/b.jpg")
    path = coco_file(tmp_path / "set" / "annotations" / "train.json", images("../images/a.jpg", "../images/b.jpg"))
    for given in (path, path.parent, tmp_path / "set"):
        index, _ = read(given)
        assert files(index, tmp_path) == ["set/images/a.jpg", "set/images/b.jpg"]


def test_absolute_names(tmp_path: Path) -> None:
    write_images(tmp_path / "far", "a.jpg")
    write_images(tmp_path / "set" / "images", "b.jpg")
    coco_file(tmp_path / "set" / "train.json", images(str(tmp_path / "far" / "a.jpg"), "b.jpg"))
    message = fails(tmp_path / "set", ImageError)
    assert f"{tmp_path}/far/a.jpg leads outside of the data set, to {tmp_path}/far/a.jpg: to allow it" in message
    index, _ = read(tmp_path / "set", allow_outside=[tmp_path / "far"])
    assert files(index, tmp_path) == ["far/a.jpg", "set/images/b.jpg"]
    assert index.root == tmp_path


def test_linked_folders_and_hidden_ones(tmp_path: Path) -> None:
    write_images(tmp_path / "disk", "a.jpg", "deep/b.jpg")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "photos").symlink_to(tmp_path / "disk")
    (tmp_path / "set" / "same").symlink_to(tmp_path / "disk")  # the same folder: no ambiguity
    (tmp_path / "disk" / "loop").symlink_to(tmp_path / "set")
    write_images(tmp_path / "set" / ".trash", "a.jpg", "b.jpg")
    coco_file(tmp_path / "set" / "train.json", images("a.jpg", "x/b.jpg"))
    index, _ = read(tmp_path / "set", allow_outside=[tmp_path / "disk"])
    assert files(index, tmp_path) == ["disk/a.jpg", "disk/deep/b.jpg"]


def test_one_file_under_several_ids(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "a.jpg")
    path = coco_file(tmp_path / "train.json", images("a.jpg", "./a.jpg", "a.jpg", ids=(1, 51, 7)), [BOXES[0]])
    index, report = read(tmp_path)
    assert index.image_ids.tolist() == [1, 51, 7]
    assert f"{path}: 2 images have the same file as another; a.jpg is image 1 and image 51" in report.warnings


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_missing_image_is_found_at_the_start(tmp_path: Path, split: str) -> None:
    write_images(tmp_path, *(f"{i}.jpg" for i in range(99)))
    names = [f"{i}.jpg" for i in range(100)]
    boxes = [box(i, i, (4, 5, 20, 10), 1) for i in range(100)]
    path = coco_file(tmp_path / f"{split}.json", images(*names, ids=range(100)), boxes)
    message = fails(tmp_path, ImageError, split)
    assert message == f"{path}: image 99, 99.jpg, is not found; fix it, or go on without it: --skip-bad"
    index, report = read(tmp_path, split, skip_bad=True)
    assert index.image_ids.tolist() == list(range(99))
    assert len(index.boxes) == 99
    assert report.left_out == [f"{path}: image 99, 99.jpg, is not found"]


def test_the_first_of_many_missing_images_says_how_many(tmp_path: Path) -> None:
    write_images(tmp_path, "a.jpg")
    coco_file(tmp_path / "train.json", images("a.jpg", "gone.jpg", "lost.jpg"))
    assert "image 2, gone.jpg, is not found, nor are 1 others" in fails(tmp_path, ImageError)


def test_no_image_at_all(tmp_path: Path) -> None:
    coco_file(tmp_path / "train.json")
    for options in ({}, {"skip_bad": True}):
        message = fails(tmp_path, DataError, **options)
        assert f"images not found: a.jpg is not in {tmp_path}, nor below" in message
        assert "--images" in message


def test_the_folder_named_is_the_only_one(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "a.jpg", "b.jpg")
    write_images(tmp_path / "mine", "train/a.jpg", "test/a.jpg", "all/b.jpg")
    coco_file(tmp_path / "train.json")
    index, _ = read(tmp_path, images=tmp_path / "mine")
    assert files(index, tmp_path) == ["mine/train/a.jpg", "mine/all/b.jpg"]
    (tmp_path / "empty").mkdir()
    assert "images not found" in fails(tmp_path, DataError, images=tmp_path / "empty")
    message = fails(tmp_path, DataError, images=tmp_path / "gone")
    assert message == f"{tmp_path}/gone: no such folder of images (--images)"


def test_names_that_are_no_text(tmp_path: Path) -> None:
    write_images(tmp_path, "a.jpg")
    coco_file(tmp_path / "train.json", images("a.jpg", "b\ud800.jpg"))
    assert "image 2, b\\ud800.jpg, is not found" in fails(tmp_path, ImageError)
    coco_file(tmp_path / "train.json", images("b\ud800.jpg"), [])
    fails(tmp_path, DataError).encode()


def test_folders_that_tools_and_people_make(tmp_path: Path) -> None:
    layouts = {  # annotations, images, and folders with other images of the same names
        "fiftyone/train/labels.json": ("fiftyone/train/data", "fiftyone/validation/data"),
        "kaggle/train.json": ("kaggle/training_set/training_set", "kaggle/test_set/test_set"),
        "cvat/annotations/instances_Train.json": ("cvat/images/Train", "cvat/images/Validation"),
        "classes/train.json": ("classes/train/cats", "classes/val/cats"),
        "years/annotations/instances_train2017.json": ("years/train2017", "years/train2014"),
        "both/train_v2.json": ("both/JPEGImages/train", "both/JPEGImages/test"),
    }
    for file, (folder, other) in layouts.items():
        write_images(tmp_path / folder, "a.jpg", "b.jpg")
        write_images(tmp_path / other, "a.jpg", "b.jpg")
        path = coco_file(tmp_path / file)
        for given in (path, tmp_path / file.split("/")[0]):
            assert files(read(given)[0], tmp_path) == [f"{folder}/a.jpg", f"{folder}/b.jpg"]
