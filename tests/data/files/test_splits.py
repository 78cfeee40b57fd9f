from __future__ import annotations

import pytest

from paa.data.files.splits import is_annotation_folder, is_other_split, is_split, main_name, split_of, splits_in


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *(("train", "train"), ("Training", "train"), ("VALID", "val"), ("val2017", "val"), ("test_images", "test")),
        *(("trainset", "train"), ("train_zip", "train"), ("trainimages", "train"), ("TrainImages", "train")),
        *(("images_val", "val"), ("train 2017 images", "train"), ("training_data", "train"), ("img-test", "test")),
        *(
            ("trainval", "trainval"),
            ("train_val2012", "trainval"),
            ("dev", "dev"),
            ("eval_set", "eval"),
            ("test1", "test"),
            ("train-640", "train"),
        ),
    ],
)
def test_folders_named_as_a_split(name: str, split: str) -> None:
    assert split_of(name) == split


@pytest.mark.parametrize(
    "name",
    [
        "trains",
        "my_train",
        "images",
        "contest",
        "train_labels",
        "train_test",
        "train_dev",
        "",
    ],
)
def test_folders_named_as_several_splits_or_none(name: str) -> None:
    assert split_of(name) is None


@pytest.mark.parametrize(
    ("name", "splits"),
    [
        ("instances_train2017", {"train"}),
        ("my_trainLabels", {"train"}),
        ("trainval2014", {"train", "val"}),
        ("train_and_test", {"train", "test"}),
        ("cats_valid", {"val"}),
        ("value_of_contest", set()),
        ("dev", set()),
    ],
)
def test_splits_that_a_name_contains(name: str, splits: set[str]) -> None:
    assert splits_in(name) == splits


def test_words_for_a_split() -> None:
    assert all(is_split(name, "val") for name in ("val", "Valid", "validation", "VAL2017"))
    assert not any(is_split(name, "val") for name in ("train", "trainval", "value", "dev"))
    assert is_split("Fold1", "fold1")
    assert is_other_split("test", "val")
    assert not any(is_other_split(name, "val") for name in ("valid", "images"))
    assert [main_name(name) for name in ("Valid", "training", "fold1")] == ["val", "train", "fold1"]


def test_folders_of_annotations() -> None:
    names = ("annotations", "Labels", "annotations_trainval2017", "train_labels", "coco_json")
    assert all(map(is_annotation_folder, names))
    assert not any(map(is_annotation_folder, ("images", "train", "my_labels", "")))
