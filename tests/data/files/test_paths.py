from __future__ import annotations

from pathlib import Path

import pytest

from paa.data.files.paths import matches, path_exists, path_parts, relative_name, with_name


def test_parts_of_paths_of_any_system() -> None:
    assert path_parts(r"C:\a b\c.png") == ["C:", "a b", "c.png"]
    assert path_parts("./a//b/./c.png ") == ["a", "b", "c.png"]


def test_a_name_as_written_or_as_a_pattern() -> None:
    assert matches("photo[1].jpg", "photo[1].jpg")
    assert matches("photo1.jpg", "photo[1].jpg")
    assert matches("a.jpg", "*.jpg")
    assert not matches("A.jpg", "a*")


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    assert path_exists(tmp_path)
    assert not path_exists(tmp_path / ("a" * 5000))
    assert not path_exists(tmp_path / "a\0b")


def test_a_name_relative_to_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert relative_name(tmp_path / "a" / "b.png", tmp_path) == "a/b.png"
    assert relative_name(tmp_path / "b.png", tmp_path / "a") == str(tmp_path / "b.png")
    monkeypatch.chdir(tmp_path)
    assert relative_name(Path("b.png"), Path("a")) == str(tmp_path / "b.png")


def test_a_folder_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "set").mkdir()
    monkeypatch.chdir(tmp_path / "set")
    assert with_name(Path()) == tmp_path / "set"
    assert with_name(Path("..")) == tmp_path
    assert with_name(Path("train")) == Path("train")
