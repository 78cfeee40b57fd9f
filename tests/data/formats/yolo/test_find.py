"""Which file describes a YOLO data set, and data sets without a YAML."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paa.data.formats.yolo.read import level
from paa.data.read_report import ReadReport
from paa.errors import DataError
from tests.data.formats.yolo.yolo_files import BOX, YAML, fails, make, names, read_yolo, usual


@pytest.mark.parametrize(
    "text",
    [
        "lr: 1\n",
        "names: [cat, dog]\n",
        "train: images\n",
        "train: {lr: 1}\nnames: [x]\n",
        "- 1\n",
        "x: [1",
        "",
        "names:\n",
    ],
)
@pytest.mark.parametrize("name", ["args.yaml", "config.yml", "zoo.YAML"])
def test_a_stray_yaml_describes_nothing(tmp_path: Path, text: str, name: str) -> None:
    (tmp_path / name).write_text(text)
    assert level(tmp_path) is None
    usual(tmp_path)
    (tmp_path / "mine.yaml").write_text(YAML)
    assert level(tmp_path) == 0
    assert names(read_yolo(tmp_path, "train")) == ["images/train/a.png"]


@pytest.mark.parametrize(
    ("files", "both"),
    [
        (("one.yaml", "two.yaml"), ("one.yaml", "two.yaml")),
        (("data.yaml", "dataset.yml", "x.yaml"), ("data.yaml", "dataset.yml")),
        (("a.yml", "a.yaml"), ("a.yml", "a.yaml")),
    ],
)
def test_two_descriptions(tmp_path: Path, files: tuple[str, ...], both: tuple[str, str]) -> None:
    usual(tmp_path)
    for name in files:
        (tmp_path / name).write_text(YAML)
    assert level(tmp_path) == 0
    message = fails(tmp_path)
    assert all(str(tmp_path / name) in message for name in both)
    assert message.endswith("name one of them")
    assert len(read_yolo(tmp_path / files[0], "train")) == 1


@pytest.mark.parametrize("name", ["data.yaml", "dataset.yml", "Data.YAML"])
def test_the_usual_name_comes_first(tmp_path: Path, name: str) -> None:
    usual(tmp_path)
    (tmp_path / name).write_text(YAML)
    (tmp_path / "a.yaml").write_text(YAML.replace("cat", "cow"))
    assert read_yolo(tmp_path, "train").names == ("cat", "dog")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train: [images", "broken YAML"),
        ("names: " + 3000 * "[", "broken YAML"),
        ("train: images/train\nnc: 2\n", "'names' must be a list"),
    ],
)
def test_a_wrong_description_of_the_usual_name_is_named(tmp_path: Path, text: str, says: str) -> None:
    usual(tmp_path)
    (tmp_path / "data.yaml").write_text(text)
    assert level(tmp_path) == 0
    assert says in fails(tmp_path)
    make(tmp_path, "classes.txt", classes="cat\n")
    assert says in fails(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "data.yaml").write_text(text)  # without label files it may be anything's
    assert level(tmp_path / "other") is None


def test_level(tmp_path: Path) -> None:
    usual(tmp_path / "set")
    (tmp_path / "set" / "data.yaml").write_text(YAML)
    assert level(tmp_path / "set") == 0
    assert level(tmp_path / "set" / "data.yaml") == 0
    assert level(tmp_path) == 1
    assert level(tmp_path / "set" / "images") is None
    assert level(tmp_path / "set" / "images" / "train" / "a.png") is None
    assert names(read_yolo(tmp_path, "train")) == ["images/train/a.png"]
    usual(tmp_path / "set2")
    (tmp_path / "set2" / "data.yaml").write_text(YAML)
    message = fails(tmp_path)
    assert str(tmp_path / "set2") in message


def test_a_description_in_a_folder_of_settings(tmp_path: Path) -> None:
    usual(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "pets.yaml").write_text(YAML)
    assert level(tmp_path) == 1
    index = read_yolo(tmp_path, "val")
    assert index.path(0) == tmp_path / "images" / "val" / "b.png"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("names: [cat, dog]", ("cat", "dog")),
        ("names: {0: cat, 1: dog}", ("cat", "dog")),
        ("names: {'0': cat, '1': dog}", ("cat", "dog")),
        ("names:\n  1: dog\n  0: cat", ("cat", "dog")),
        ("names: [no, yes]", ("no", "yes")),  # truth values to YAML
        ("names: [01, 2.50]", ("01", "2.50")),
        ("names: classes.list", ("cat", "dog")),
        ("names: [猫, größe]", ("猫", "größe")),
    ],
)
def test_names(tmp_path: Path, text: str, expected: tuple[str, str]) -> None:
    usual(tmp_path)
    (tmp_path / "classes.list").write_text("cat\ndog\n\n")
    (tmp_path / "data.yaml").write_text(f"train: images/train\n{text}\n")
    assert read_yolo(tmp_path, "train").names == expected


@pytest.mark.parametrize(
    "text", ["{1: a, 2: b}", "{a: b}", "cat dog", "[]", "[[cat], dog]", "[{0: cat}]", "{}", "", "[cat, '']"]
)
def test_invalid_names(tmp_path: Path, text: str) -> None:
    usual(tmp_path)
    (tmp_path / "data.yaml").write_text(f"train: images/train\nnames: {text}\n")
    assert "'names' must be a list of class names" in fails(tmp_path)


@pytest.mark.parametrize(("count", "warns"), [("2", False), ("5", True), ("1", True), ("", False)])
def test_the_number_of_classes(tmp_path: Path, count: str, warns: bool) -> None:
    usual(tmp_path)
    (tmp_path / "data.yaml").write_text(f"{YAML}nc: {count}\n")
    report = ReadReport()
    read_yolo(tmp_path, "train", report)
    says = f"{tmp_path / 'data.yaml'}: nc is {count}, but there are 2 names; the names are used"
    assert (says in report.warnings) == warns


@pytest.mark.parametrize("text", ["", "val:\n", "val: ''\n", "val: null\n", "val: ~\n", "val: []\n", "val: ['']\n"])
def test_no_validation_split(tmp_path: Path, text: str) -> None:
    usual(tmp_path)
    (tmp_path / "data.yaml").write_text(f"train: images/train\nnames: [cat, dog]\n{text}")
    assert len(read_yolo(tmp_path, "train")) == 1
    message = fails(tmp_path, split="val")
    assert "data.yaml: no 'val': it has train; choose another with --val-split NAME" in message
    assert "--val-data" in message
    assert "--val-batch-size 0" in message


@pytest.mark.parametrize("key", ["val", "valid", "validation"])
@pytest.mark.parametrize("split", ["val", "valid", "validation"])
def test_names_of_the_validation_split(tmp_path: Path, key: str, split: str) -> None:
    usual(tmp_path)
    (tmp_path / "data.yaml").write_text(f"train: images/train\n{key}: images/val\nnames: [cat, dog]\n")
    assert names(read_yolo(tmp_path, split)) == ["images/val/b.png"]


DARKNET = "classes = 1\ntrain  = data/train.txt\nvalid = data/test.txt\nnames = data/obj.names\nbackup = backup/\n"


@pytest.mark.parametrize("prefix", ["data/", "", "build/darknet/x64/data/", "/home/ann/"])
def test_darknet(tmp_path: Path, prefix: str) -> None:
    texts = {"obj": "cat\n", "train": f"{prefix}obj_train_data/a.png\n", "test": f"{prefix}obj_valid_data/b.png\r\n"}
    make(tmp_path, "obj_train_data/a.png", "obj_train_data/a.txt", "obj_valid_data/b.png", "obj_valid_data/b.txt")
    make(tmp_path, "train.txt", "test.txt", "obj.names", **texts)
    (tmp_path / "obj.data").write_text(DARKNET)
    for path in (tmp_path, tmp_path / "obj.data"):
        assert level(path) == 0
        for split, image in (("train", "obj_train_data/a.png"), ("val", "obj_valid_data/b.png")):
            report = ReadReport()
            index = read_yolo(path, split, report)
            assert names(index) == [image]
            assert index.names == ("cat",)
            np.testing.assert_allclose(index.boxes, [BOX])
            assert len(report.warnings) == (prefix not in ("data/", ""))
    assert "no 'test': it has train, valid" in fails(tmp_path, split="test")


def test_darknet_that_is_wrong(tmp_path: Path) -> None:
    make(tmp_path, "obj_train_data/a.png", "obj_train_data/a.txt", "train.txt", train="data/obj_train_data/a.png")
    (tmp_path / "obj.data").write_text(DARKNET)
    assert "the file of class names (names = data/obj.names) does not exist" in fails(tmp_path)
    (tmp_path / "obj.names").write_text("cat\ndog\n")
    report = ReadReport()
    read_yolo(tmp_path, "train", report)
    assert "classes is 1, but" in report.warnings[0]
    assert "'valid' names data/test.txt, which does not exist" in fails(tmp_path, split="val")
    (tmp_path / "obj.names").write_text("cat\n\ndog\n")
    assert "obj.names: line 2 is empty" in fails(tmp_path)


@pytest.mark.parametrize(
    ("files", "image"),
    [
        (("classes.txt", "a.png", "a.txt"), "a.png"),  # labelImg
        (("classes.txt", "images/a.png", "labels/a.txt"), "images/a.png"),  # Label Studio
        (("labels/classes.txt", "images/a.png", "labels/a.txt"), "images/a.png"),
        (("images/classes.txt", "images/a.png", "images/a.txt"), "images/a.png"),
        (("classes.txt", "Images/a.png", "Labels/a.TXT"), "Images/a.png"),
        (("classes.txt", "a.png", "labels/a.txt"), "a.png"),
        (("classes.txt", "JPEGImages/a.png", "labels/a.txt"), "JPEGImages/a.png"),
        (("obj.names", "data/a.png", "data/a.txt"), "data/a.png"),  # FiftyOne's YOLOv4
        (("obj.names", "obj_train_data/a.png", "obj_train_data/a.txt"), "obj_train_data/a.png"),
        (("pets.names", "images/a.png", "labels/a.txt"), "images/a.png"),
    ],
)
def test_without_a_yaml(tmp_path: Path, files: tuple[str, ...], image: str) -> None:
    make(tmp_path, *files, classes="cat\ndog\n", obj="cat\ndog\n", pets="cat\ndog\n")
    assert level(tmp_path) == 0
    report = ReadReport()
    index = read_yolo(tmp_path, "train", report)
    assert names(index) == [image]
    assert index.names == ("cat", "dog")
    np.testing.assert_allclose(index.boxes, [BOX])
    assert report.annotations == str(tmp_path / files[0])
    assert [warning for warning in report.warnings if "no object of class dog" not in warning] == []
    assert "no 'val': it has train" in fails(tmp_path, split="val")


def test_fiftyones_list(tmp_path: Path) -> None:
    make(tmp_path, "data/a.png", "data/a.txt", "data/b.png", "data/b.txt", "obj.names", obj="cat\n")
    (tmp_path / "images.txt").write_text("data/b.png\ndata/a.png\n")
    assert names(read_yolo(tmp_path, "train")) == ["data/b.png", "data/a.png"]


@pytest.mark.parametrize(
    ("images", "labels", "classes"),
    [
        ("images/{}", "labels/{}", "classes.txt"),
        ("{}/images", "{}/labels", "classes.txt"),
        ("{}", "{}", "classes.txt"),
        ("{}", "{}", "{}/_darknet.labels"),  # Roboflow's darknet
        ("{}/images", "{}/labels", "{}/labels/classes.txt"),
    ],
)
def test_folders_named_as_splits(tmp_path: Path, images: str, labels: str, classes: str) -> None:
    for split, stem in (("train", "a"), ("valid", "b")):
        make(tmp_path, f"{images.format(split)}/{stem}.png", f"{labels.format(split)}/{stem}.txt")
        make(tmp_path, classes.format(split), classes="cat\n", darknet="cat\n")
    for split, folder, stem in (("train", "train", "a"), ("val", "valid", "b")):
        index = read_yolo(tmp_path, split)
        assert names(index) == [f"{images.format(folder)}/{stem}.png"]
        assert len(index.boxes) == 1
    assert "no 'test': it has train, valid" in fails(tmp_path, split="test")


def test_lists_without_a_yaml(tmp_path: Path) -> None:
    make(tmp_path, "classes.txt", "a.png", "a.txt", "b.png", "b.txt", classes="cat")
    make(tmp_path, "train.txt", "val.txt", train="a.png\n", val="./b.png\n")
    assert names(read_yolo(tmp_path, "train")) == ["a.png"]
    assert names(read_yolo(tmp_path, "val")) == ["b.png"]


@pytest.mark.parametrize(
    "files",
    [
        ("classes.txt", "a.png"),
        ("a.png", "a.txt"),
        ("images/a.png", "labels/a.txt"),
        ("classes.txt", "notes.txt", "a.png"),
    ],
)
def test_what_is_no_yolo(tmp_path: Path, files: tuple[str, ...]) -> None:
    make(tmp_path, *files, classes="cat\n", notes="two cats 1 2 3 4")
    assert level(tmp_path) is None
    with pytest.raises(DataError, match=r"no data\.yaml with keys such as train, val and names, nor obj"):
        read_yolo(tmp_path, "train")


def test_two_folders_of_images_without_a_yaml(tmp_path: Path) -> None:
    make(tmp_path, "classes.txt", "images/a.png", "data/a.png", "labels/a.txt", classes="cat")
    message = fails(tmp_path)
    assert str(tmp_path / "images") in message
    assert str(tmp_path / "data") in message
    assert message.endswith("choose: --images DIR")
    assert names(read_yolo(tmp_path, "train", images=tmp_path / "images")) == ["images/a.png"]


def test_different_class_names(tmp_path: Path) -> None:
    make(tmp_path, "train/a.png", "train/a.txt", "test/b.png", "test/b.txt")
    (tmp_path / "train" / "classes.txt").write_text("cat\ndog\n")
    (tmp_path / "test" / "classes.txt").write_text("dog\ncat\n")
    assert "different class names in" in fails(tmp_path)


@pytest.mark.parametrize("line", ["names", "train", "path"])
def test_a_text_too_long_for_a_file(tmp_path: Path, line: str) -> None:
    """Such as class names that are one text instead of a list."""
    usual(tmp_path)
    settings = {"train": "images/train", "names": "[cat, dog]", line: " ".join(["person"] * 80)}
    (tmp_path / "data.yaml").write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))
    if line == "path":
        assert len(read_yolo(tmp_path, "train")) > 0
    else:
        assert f"data.yaml: {line!r}" in fails(tmp_path)
