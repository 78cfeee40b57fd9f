"""The images of a split, by the paths that descriptions and lists have."""

from __future__ import annotations

import time
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from paa.data.images.decoders import decodable_suffixes
from paa.data.read import read_dataset
from paa.data.read_report import ReadReport
from paa.errors import AnnotationError, DataError
from tests.data.data_files import write_image
from tests.data.formats.yolo.yolo_files import fails, make, names, read_yolo, usual


def describe(root: Path, train: str, val: str = "", path: str = "") -> Path:
    (root / "data.yaml").write_text(f"path: {path}\ntrain: {train}\nval: {val}\nnames: [cat]\n")
    return root


@pytest.mark.parametrize("images", ["images/train", "train/images"])
@pytest.mark.parametrize(
    ("train", "warns"),
    [
        ("{}", False),
        ("./{}/", False),
        ("[{}]", False),
        ("../{}", False),
        ("../../{}", False),
        ("'{}'", False),
        ("{root}/{}", False),
        ("/content/pets/{}", True),
        (r"C:\Users\ann\pets\{}", True),
        ("/kaggle/input/pets v2/{}", True),
        ("pets/{}", True),
    ],
)
def test_paths_of_folders(tmp_path: Path, images: str, train: str, warns: bool) -> None:
    root = tmp_path / "deep" / "set"
    make(root, f"{images}/a.png", f"{images.replace('images', 'labels')}/a.txt")
    windows = images.replace("/", "\\") if "\\" in train else images
    describe(root, train.replace("{root}", str(root)).replace("{}", windows))
    report = ReadReport()
    index = read_yolo(root, "train", report)
    assert names(index) == [f"{images}/a.png"]
    assert len(index.boxes) == 1
    assert any("which does not exist; " in warning for warning in report.warnings) == warns


@pytest.mark.parametrize("path", ["/content/datasets/pets", "../gone/pets", "pets", r"D:\pets"])
def test_a_root_that_does_not_exist(tmp_path: Path, path: str) -> None:
    describe(usual(tmp_path), "images/train", "images/val", path)
    assert names(read_yolo(tmp_path, "train")) == ["images/train/a.png"]
    assert names(read_yolo(tmp_path, "val")) == ["images/val/b.png"]


@pytest.mark.parametrize("path", ["[/a, /b]", "{here: /a}"])
def test_a_root_that_is_no_path(tmp_path: Path, path: str) -> None:
    describe(usual(tmp_path), "images/train", path=path)
    assert fails(tmp_path) == f"{tmp_path / 'data.yaml'}: 'path' must be a folder"


@pytest.mark.parametrize("key", ["train", "path"])
def test_a_path_of_a_thousand_folders(tmp_path: Path, key: str) -> None:
    """Of which not every ending is looked for: that took 12 seconds, as each is a long path itself."""
    deep = "/" + "x../" * 1000
    describe(usual(tmp_path), **{"train": "gone", key: deep})
    start = time.process_time()
    with pytest.raises(DataError, match="which does not exist"):
        read_dataset(tmp_path, "train")
    assert time.process_time() - start < 5
    describe(tmp_path, f"{deep}images/train")
    assert names(read_yolo(tmp_path, "train")) == ["images/train/a.png"]


@pytest.mark.parametrize(
    ("file", "path", "warns"),
    [
        ("code/data/pets.yaml", "../datasets/pets", True),
        ("datasets/pets/pets.yaml", "pets", False),
        ("datasets/pets.yaml", "pets", False),
        ("code/pets.yaml", "datasets/pets", True),
    ],
)
def test_a_root_that_is_relative_to_a_folder_above(tmp_path: Path, file: str, path: str, warns: bool) -> None:
    usual(tmp_path / "datasets" / "pets")
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(f"path: {path}\ntrain: images/train\nval: images/val\nnames: [cat]\n")
    report = ReadReport()
    index = read_yolo(tmp_path / file, "train", report)
    assert index.path(0).samefile(tmp_path / "datasets/pets/images/train/a.png")
    assert len(report.warnings) == warns


def test_the_files_own_folder_comes_before_one_above(tmp_path: Path) -> None:
    usual(tmp_path / "pets")
    usual(tmp_path / "data")
    describe(tmp_path / "pets", "images/train", path="data")
    index = read_yolo(tmp_path / "pets", "train")
    assert index.path(0) == tmp_path / "pets" / "images" / "train" / "a.png"


def test_the_longest_ending_is_taken(tmp_path: Path) -> None:
    make(tmp_path, "two/images/train/a.png", "two/labels/train/a.txt", "train/c.png", "train/c.txt")
    describe(tmp_path, "/data/two/images/train")
    assert names(read_yolo(tmp_path, "train")) == ["two/images/train/a.png"]


def test_an_ending_that_fits_twice(tmp_path: Path) -> None:
    make(tmp_path, "x/images/train/a.png", "y/images/train/a.png")
    message = fails(describe(tmp_path, "/data/images/train"))
    assert str(tmp_path / "x" / "images" / "train") in message
    assert str(tmp_path / "y" / "images" / "train") in message


def test_two_splits_that_end_at_one_folder(tmp_path: Path) -> None:
    make(tmp_path, "images/a.png", "labels/a.txt")
    describe(tmp_path, "/data/train/images", "/data/val/images")
    for split in ("train", "val"):
        message = fails(tmp_path, split=split)
        assert "'train' (/data/train/images)" in message
        assert "'val' (/data/val/images)" in message
        assert str(tmp_path / "images") in message
    describe(tmp_path, "images", "images")  # as it is written, it is meant
    assert len(read_yolo(tmp_path, "val")) == 1


def test_an_ending_in_another_splits_folder_does_not_count(tmp_path: Path) -> None:
    make(tmp_path, "test/images/a.png", "test/labels/a.txt")
    message = fails(describe(tmp_path, "../train/images", "../valid/images"), split="val")
    assert "'val' names ../valid/images, which does not exist" in message
    assert "--val-batch-size 0" in message
    make(tmp_path, "other/images/b.png", "other/labels/b.txt")
    assert "'train' (../train/images)" in fails(tmp_path, split="val")  # both would end at other/images


def test_a_path_upwards_that_fits_twice(tmp_path: Path) -> None:
    make(tmp_path, "train/images/b.png", "set/train/images/a.png", "set/train/labels/a.txt")
    message = fails(describe(tmp_path / "set", "../train/images"))
    assert str(tmp_path / "train" / "images") in message
    assert str(tmp_path / "set" / "train" / "images") in message


@pytest.mark.parametrize("train", ["Images/Train", "IMAGES/train"])
def test_folders_in_other_capitals(tmp_path: Path, train: str) -> None:
    assert names(read_yolo(describe(usual(tmp_path), train), "train")) == ["images/train/a.png"]


def test_a_split_folder_of_images_labels_and_masks(tmp_path: Path) -> None:
    make(tmp_path, "train/images/a.png", "train/labels/a.txt", "train/masks/a.png")
    assert names(read_yolo(describe(tmp_path, "train"), "train")) == ["train/images/a.png"]


def test_several_folders_lists_and_images(tmp_path: Path) -> None:
    make(tmp_path, *(f"{x}/images/{x}.png" for x in "abc"), *(f"{x}/labels/{x}.txt" for x in "abc"))
    (tmp_path / "more.txt").write_text("b/images/b.png\n")
    describe(tmp_path, "[a/images, more.txt, c/images/c.png]")
    assert names(read_yolo(tmp_path, "train")) == [f"{x}/images/{x}.png" for x in "abc"]


def test_images_that_are_named_twice(tmp_path: Path) -> None:
    make(tmp_path, "images/train/a.png", "labels/train/a.txt", "images/b.png", "labels/b.txt")
    describe(tmp_path, "[images/train, images]")
    report = ReadReport()
    assert names(read_yolo(tmp_path, "train", report)) == ["images/train/a.png", "images/b.png"]
    assert report.warnings == [
        f"{tmp_path / 'data.yaml'}: 1 images are named more than once in 'train'; each is read once"
    ]


LINES = [
    ("images/train/a.png", False),
    ("./images/train/a.png", False),
    ("{root}/images/train/a.png", False),
    ("images\\train\\a.png", False),
    ('"images/train/a.png"', False),
    ("images/train/A.PNG", False),
    ("data/images/train/a.png", False),  # darknet's
    ("/content/pets/images/train/a.png", True),
    (r"C:\pets\images\train\a.png", True),
    ("../pets/train/a.png", True),
    ("a.png", True),
]


@pytest.mark.parametrize(("line", "warns"), LINES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lines_of_a_list(tmp_path: Path, line: str, warns: bool, encoding: str) -> None:
    describe(usual(tmp_path), "lists/train.txt")
    (tmp_path / "lists").mkdir()
    text = f"\r\n{line.replace('{root}', str(tmp_path))}\r\n\r\n"
    (tmp_path / "lists" / "train.txt").write_bytes(text.encode(encoding))
    report = ReadReport()
    assert names(read_yolo(tmp_path, "train", report)) == ["images/train/a.png"]
    assert any("paths do not exist" in warning for warning in report.warnings) == warns


def test_lines_with_names_of_another_form(tmp_path: Path) -> None:
    composed = "é.png"
    decomposed = unicodedata.normalize("NFD", composed)
    make(tmp_path, f"images/{decomposed}", "images/my photo.png", f"labels/{composed[:-4]}.txt", "labels/my photo.txt")
    (tmp_path / "train.txt").write_text(f"images/{composed}\nimages/my%20photo.png\n")
    index = read_yolo(describe(tmp_path, "train.txt"), "train")
    assert names(index) == [f"images/{decomposed}", "images/my photo.png"]
    assert len(index.boxes) == 2


def test_an_image_of_a_list_that_does_not_exist(tmp_path: Path) -> None:
    describe(usual(tmp_path), "train.txt")
    (tmp_path / "train.txt").write_text("images/train/a.png\nimages/train/gone.png\n")
    says = f"{tmp_path / 'train.txt'} line 2: images/train/gone.png does not exist"
    assert fails(tmp_path, AnnotationError).startswith(says)
    report = ReadReport(skip_bad=True)
    assert len(read_yolo(tmp_path, "train", report)) == 1
    assert report.left_out == [says]


def test_lines_that_fit_two_images_or_end_at_one(tmp_path: Path) -> None:
    make(tmp_path, "x/a.png", "y/a.png", "x/a.txt", "y/a.txt", "y/b.png", "y/b.txt")
    describe(tmp_path, "train.txt")
    (tmp_path / "train.txt").write_text("/data/a.png\n/data/y/a.png\n/data/z/b.png\n/data/q/b.png\n")
    message = fails(tmp_path, AnnotationError)
    assert f"line 1: /data/a.png fits {tmp_path / 'x' / 'a.png'} and {tmp_path / 'y' / 'a.png'} alike" in message
    report = ReadReport(skip_bad=True)
    assert names(read_yolo(tmp_path, "train", report)) == ["y/a.png", "y/b.png"]
    assert f"line 4: /data/q/b.png and /data/z/b.png both lead to {tmp_path / 'y' / 'b.png'}" in report.left_out[1]


def test_a_line_does_not_end_in_another_splits_folder(tmp_path: Path) -> None:
    make(tmp_path, "train/images/a.png", "train/labels/a.txt")
    describe(tmp_path, "train.txt", "val.txt")
    (tmp_path / "train.txt").write_text("/content/train/images/a.png\n")
    (tmp_path / "val.txt").write_text("/content/valid/images/a.png\n")
    assert len(read_yolo(tmp_path, "train")) == 1
    assert "val.txt line 1: /content/valid/images/a.png does not exist" in fails(tmp_path, AnnotationError, split="val")
    (tmp_path / "val.txt").write_text("/content/images/a.png\n")  # lists may part one folder, of any name
    assert names(read_yolo(tmp_path, "val")) == ["train/images/a.png"]


@pytest.mark.parametrize("hidden", [".ipynb_checkpoints", ".Trash", ".thumbs/deep"])
def test_hidden_folders_are_left_out(tmp_path: Path, hidden: str) -> None:
    describe(usual(tmp_path), "images/train")
    make(tmp_path, f"images/train/{hidden}/a-checkpoint.png", "images/train/.b.png")
    assert names(read_yolo(tmp_path, "train")) == ["images/train/a.png"]


def test_links_are_followed_once(tmp_path: Path) -> None:
    disk = make(tmp_path / "disk", "x/a.png", "x/a.txt")
    (tmp_path / "set" / "images").mkdir(parents=True)
    (tmp_path / "set" / "images" / "x").symlink_to(disk / "x", target_is_directory=True)
    (tmp_path / "set" / "images" / "loop").symlink_to(tmp_path / "set" / "images", target_is_directory=True)
    index = read_yolo(describe(tmp_path / "set", "images"), "train")
    assert names(index) == ["images/x/a.png"]
    assert len(index.boxes) == 1


@pytest.mark.parametrize("suffix", [".JPG", ".jfif", ".jp2", ".avif", ".webp", ".tif", ".bmp", ".tga"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    describe(usual(tmp_path), "images/train")
    path = write_image(tmp_path / "images" / "train" / "b.png")
    if suffix not in decodable_suffixes() and suffix == ".avif":
        pytest.skip("this Pillow has no AVIF")
    with Image.open(path) as image:
        image.save(path.with_suffix(suffix))
    path.unlink()
    make(tmp_path, "labels/train/b.txt")
    report = ReadReport()
    index = read_yolo(tmp_path, "train", report)
    assert names(index) == ["images/train/a.png", f"images/train/b{suffix}"]
    assert index.sizes.tolist() == [[60, 80]] * 2
    assert report.warnings == []


def test_formats_that_cannot_be_decoded(tmp_path: Path) -> None:
    describe(usual(tmp_path), "images/train")
    for name in ("b.dng", "c.svg"):
        (tmp_path / "images" / "train" / name).write_bytes(b"raw")
    make(tmp_path, "labels/train/b.txt")
    report = ReadReport()
    assert len(read_yolo(tmp_path, "train", report)) == 1
    assert report.warnings == [
        f"{tmp_path / 'images' / 'train'}: 2 files of a format that cannot be decoded here: b.dng, c.svg; convert them"
    ]


def test_images_elsewhere(tmp_path: Path) -> None:
    root = describe(usual(tmp_path / "set"), "images/train", "images/val")
    make(tmp_path / "disk", "images/train/c.png", "labels/train/c.txt", "val/d.png", "val/d.txt")
    for split, image in (("train", "images/train/c.png"), ("val", "val/d.png")):
        index = read_yolo(root, split, images=tmp_path / "disk")
        assert [index.path(i) for i in range(len(index))] == [tmp_path / "disk" / image]
    make(tmp_path / "flat", "c.png", "c.txt")
    for split in ("train", "val"):  # would be the same images
        assert f"{tmp_path / 'flat'}: has no folder for {split!r}" in fails(root, split=split, images=tmp_path / "flat")
    describe(root, "images/train")
    assert len(read_yolo(root, "train", images=tmp_path / "flat")) == 1


def test_images_of_a_list_elsewhere(tmp_path: Path) -> None:
    root = describe(usual(tmp_path / "set"), "train.txt")
    (root / "train.txt").write_text("images/train/c.png\n/gone/images/train/d.png\n")
    make(tmp_path / "disk", "images/train/c.png", "labels/train/c.txt", "images/train/d.png", "labels/train/d.txt")
    index = read_yolo(root, "train", images=tmp_path / "disk")
    assert [index.path(i) for i in range(2)] == [tmp_path / "disk/images/train" / name for name in ("c.png", "d.png")]
