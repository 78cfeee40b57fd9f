from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from paa.data.files.folders import PathLookup, files_ending, files_in, image_files, parts_of, path_exists, subfolders
from paa.data.files.split_folders import is_split, missing_split, split_of
from paa.data.images.decoders import decodable_suffixes
from paa.data.read_report import ReadReport
from tests.data.data_files import write_image

FILES = [Path("/set") / name for name in ("x/seq1/a.png", "x/seq2/a.png", "y/seq2/a.png", "b.png", "é.png")]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("b.png", [3]),
        ("/gone/b.png", [3]),
        (r"C:\gone\B.PNG", [3]),
        ("seq1/a.png", [0]),
        (r"D:\all\Seq1\a.png", [0]),
        ("seq2/a.png", [1, 2]),
        ("/home/y/seq2/a.png", [2]),
        ("a.png", [0, 1, 2]),
        ("other/a.png", [0, 1, 2]),
        (f"/gone/{unicodedata.normalize('NFD', 'é.png')}", [4]),
        ("/gone/%C3%A9.png", [4]),
        ("c.png", []),
        ("", []),
        ("/", []),
    ],
)
def test_the_longest_ending_decides(path: str, found: list[int]) -> None:
    assert PathLookup(FILES).find(path) == [FILES[i] for i in found]


def test_parts_of_paths_of_any_system() -> None:
    assert parts_of(r"C:\a b\c.png") == ["C:", "a b", "c.png"]
    assert parts_of("./a//b/./c.png ") == ["a", "b", "c.png"]


@pytest.mark.parametrize(
    ("name", "split"),
    [("train", "train"), ("Training", "training"), ("VALID", "valid"), ("val2017", "val"), ("test_images", "test")]
    + [("trainset", "train"), ("train_zip", "train"), ("trainval", "trainval"), ("dev", "dev")]
    + [(name, None) for name in ("trains", "my_train", "images", "contest", "test1", "training_data", "")],
)
def test_names_of_splits(name: str, split: str | None) -> None:
    assert split_of(name) == split


def test_what_stands_for_a_split() -> None:
    assert all(is_split(name, "val") for name in ("val", "Valid", "validation", "VAL2017"))
    assert not any(is_split(name, "val") for name in ("train", "trainval", "value", "dev"))
    assert is_split("Fold1", "fold1")
    assert "--train-split NAME (paa eval: --split)" in str(missing_split(Path("x"), "train", ["test"]))
    assert "--val-batch-size 0" in str(missing_split(Path("x"), "val", []))
    for own in ("test", "fold_1"):  # of training, validation or paa eval
        assert "--train-split or --val-split NAME (paa eval: --split)" in str(missing_split(Path("x"), own, []))


def test_images_of_a_folder(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", ".c.png", "deep/d.bmp", ".git/e.png"):
        write_image(tmp_path / name)
    for name in ("notes.txt", "f.heic", "g.CR2", ".h.dng", "deep/i.svg"):
        (tmp_path / name).write_bytes(b"?")
    heic = ".heic" in decodable_suffixes()
    report = ReadReport()
    found = [tmp_path / name for name in ("a.jpg", "b.PNG", *(["f.heic"] if heic else []))]
    assert image_files(tmp_path, report) == found
    if heic:
        says = "1 file of a format that cannot be decoded here: g.CR2; convert it"
    else:
        says = (
            "2 files of a format that cannot be decoded here: f.heic, g.CR2; convert them, or for .heic: "
            "pip install pillow-heif"
        )
    assert report.warnings == [f"{tmp_path}: {says}"]
    deep = image_files(tmp_path, ReadReport(), recursive=True)
    assert deep == [*found[:2], tmp_path / "deep" / "d.bmp", *found[2:]]
    assert image_files(tmp_path / "gone", report) == []


def test_files_of_some_endings(tmp_path: Path) -> None:
    for name in ("b.YML", "a.yaml", ".c.yaml", "d.txt"):
        (tmp_path / name).touch()
    (tmp_path / "e.yaml").mkdir()
    assert files_ending(tmp_path, (".yaml", ".yml")) == [tmp_path / "a.yaml", tmp_path / "b.YML"]
    assert files_ending(tmp_path / "gone", (".yaml",)) == []


def test_links_that_lead_nowhere_hide_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop.txt").symlink_to("loop.txt")
    (tmp_path / "gone.txt").symlink_to("nowhere")
    assert files_in(tmp_path, recursive=True) == files_ending(tmp_path, (".txt",)) == [tmp_path / "a.txt"]
    assert subfolders(tmp_path) == [tmp_path / "folder"]


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    assert path_exists(tmp_path)
    assert not path_exists(tmp_path / ("a" * 5000))
    assert not path_exists(tmp_path / "a\0b")
