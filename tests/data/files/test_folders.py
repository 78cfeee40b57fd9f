from __future__ import annotations

from pathlib import Path

from paa.data.files.folders import (
    files_ending,
    files_in,
    find_folder,
    folders_listed_once,
    list_folder,
    subfolders,
    walk,
)


def make(root: Path, *files: str) -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_files_of_some_endings(tmp_path: Path) -> None:
    make(tmp_path, "b.YML", "a.yaml", ".c.yaml", "d.txt", "e.yaml/f.yaml")
    assert files_ending(tmp_path, (".yaml", ".yml")) == [tmp_path / "a.yaml", tmp_path / "b.YML"]
    assert files_ending(tmp_path / "gone", (".yaml",)) == []


def test_a_folder_is_listed_once_in_a_context(tmp_path: Path) -> None:
    make(tmp_path, "a.txt")
    with folders_listed_once():
        assert files_in(tmp_path) == [tmp_path / "a.txt"]
        make(tmp_path, "b.txt")
        assert files_in(tmp_path) == files_ending(tmp_path, (".txt",)) == [tmp_path / "a.txt"]
    assert files_in(tmp_path) == [tmp_path / "a.txt", tmp_path / "b.txt"]


def test_what_a_folder_holds(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", ".b.txt", "d/e.txt", "c/f.txt")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to("c")
    content = list_folder(tmp_path)
    assert sorted(content.files) == [".b.txt", "a.txt"]
    assert content.folders == ["c", "d", "link"]
    assert list_folder(tmp_path / "gone") == list_folder(f"{tmp_path}/a\0b") == ([], [])


def test_files_of_a_folder_and_below(tmp_path: Path) -> None:
    make(tmp_path, "b.txt", "a/c.txt", "a/d/e.txt", ".git/f.txt", "a/.g.txt")
    assert files_in(tmp_path) == [tmp_path / "b.txt"]
    assert files_in(tmp_path, recursive=True) == [tmp_path / name for name in ("a/c.txt", "a/d/e.txt", "b.txt")]
    assert files_in(tmp_path / "gone") == files_in(tmp_path / "b.txt") == []


def test_folders_that_are_not_entered(tmp_path: Path) -> None:
    make(tmp_path, "a/b.txt", "c/d.txt", "c/a/e.txt")
    found = list(walk(str(tmp_path), lambda name: name != "a", set()))
    assert found == [(str(tmp_path / "c"), "d.txt")]


def test_linked_folders_are_entered_once(tmp_path: Path) -> None:
    make(tmp_path / "disk", "a.txt")
    (tmp_path / "set").mkdir()
    for name in ("one", "two"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "loop").symlink_to(tmp_path / "set")
    assert files_in(tmp_path / "set", recursive=True) == [tmp_path / "set" / "one" / "a.txt"]


def test_links_that_lead_nowhere_hide_nothing_else(tmp_path: Path) -> None:
    make(tmp_path, "a.txt")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop.txt").symlink_to("loop.txt")
    (tmp_path / "gone.txt").symlink_to("nowhere")
    assert files_in(tmp_path, recursive=True) == files_ending(tmp_path, (".txt",)) == [tmp_path / "a.txt"]
    assert subfolders(tmp_path) == [tmp_path / "folder"]


def test_a_folder_by_one_of_its_usual_names(tmp_path: Path) -> None:
    make(tmp_path, "Labels/a.txt", "images/a.png", ".label/a.txt", "label")
    assert find_folder(tmp_path, ("label", "labels")) == tmp_path / "Labels"
    assert find_folder(tmp_path, ("imgs",)) is None
