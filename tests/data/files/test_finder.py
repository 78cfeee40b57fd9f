from __future__ import annotations

from pathlib import Path

import pytest

from paa.data.files.finder import FileFinder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("images/Train/a.png", "images/b c.png", "other/.hidden/d.png", "other/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "images" / "gone.png").symlink_to("nowhere")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("images/Train/a.png", "images/Train/a.png"),
        ("Images/train/A.PNG", "images/Train/a.png"),
        ("./images//b%20c.png", "images/b c.png"),
        ("images/../other/e.png", "other/e.png"),
        ("other/.hidden/d.png", "other/.hidden/d.png"),
        ("images/gone.png", None),
        ("images/Train", None),  # a folder
        ("images/", None),
        ("none/a.png", None),
    ],
)
def test_files_by_their_relative_names(folder: Path, name: str, found: str | None) -> None:
    place = FileFinder().find(str(folder), name)
    assert (place and place.path) == (None if found is None else str(folder / found))
    assert place is None or (place.base, place.name) == (str(folder), Path(place.path).name)


@pytest.mark.parametrize(
    ("parts", "found"),
    [(["images", "train"], "images/Train"), (["images", "b c.png"], "images/b c.png"), (["images", "none"], None)],
)
def test_folders_or_files(folder: Path, parts: list[str], found: str | None) -> None:
    assert FileFinder().find_any(folder, parts) == (None if found is None else folder / found)


def test_a_folder_is_listed_once(folder: Path) -> None:
    finder = FileFinder()
    assert finder.find(str(folder), "other/e.png") is not None
    (folder / "other" / "e.png").unlink()
    assert finder.find(str(folder), "other/e.png") is not None
    assert FileFinder().find(str(folder), "other/e.png") is None
