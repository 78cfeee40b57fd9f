from __future__ import annotations

from pathlib import Path

import pytest

from paa.data.files.boundary import current, is_inside, note_of_refused, outside, refused_in, was_refused, within
from paa.data.files.folders import list_folder


@pytest.fixture
def inner(tmp_path: Path) -> Path:
    """A folder with a file, and links to a file inside, to one outside, to a folder outside, and to nothing."""
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "inner-too").mkdir()
    (folder / "a.png").touch()
    (tmp_path / "b.png").touch()
    (folder / "same.png").symlink_to("a.png")
    (folder / "b.png").symlink_to("../b.png")
    (folder / "more").symlink_to("../inner-too")
    (folder / "nothing.png").symlink_to("../nothing.png")
    return folder


def test_without_a_boundary_every_link_is_followed(inner: Path) -> None:
    assert current() is None
    assert sorted(list_folder(inner).files) == ["a.png", "b.png", "same.png"]
    assert list_folder(inner).folders == ["more"]
    assert is_inside("/etc")
    assert note_of_refused() == ""
    assert refused_in(inner) == []


def test_links_that_lead_outside_are_left_out_and_noted(inner: Path) -> None:
    with within([inner]):
        assert sorted(list_folder(inner).files) == ["a.png", "same.png"]
        assert list_folder(inner).folders == []
        assert refused_in(inner) == [f"{inner}/b.png", f"{inner}/more"]
        assert refused_in(inner.parent) == []
        assert refused_in(inner.parent, recursive=True) == [f"{inner}/b.png", f"{inner}/more"]
        assert was_refused(f"{inner}/b.png")
        assert not was_refused(f"{inner}/nothing.png")
        note = note_of_refused()
        assert note.startswith(f"; not read: {inner}/b.png and 1 more, which lead outside of the data set: ")
        folders = note.partition("--allow-outside ")[2].split()
        assert len(folders) == len(set(folders)) > 0
    with within([inner, *map(Path, folders)]):
        assert sorted(list_folder(inner).files) == ["a.png", "b.png", "same.png"]
        assert list_folder(inner).folders == ["more"]
        assert note_of_refused() == ""
    assert current() is None


def test_a_folder_outside_is_not_listed(inner: Path) -> None:
    with within([inner]):
        for folder in (inner.parent, inner.parent / "inner-too", inner / "more", inner / ".."):
            assert list_folder(folder) == ([], [])
            assert not is_inside(folder)


def test_roots_are_real_folders(inner: Path) -> None:
    (inner.parent / "link").symlink_to("inner")
    with within([inner.parent / "link"]):
        assert is_inside(inner / "a.png")
        assert is_inside(inner / "new.png")  # whether it exists does not matter
        assert not is_inside(inner.parent / "inner-too")  # a name that begins alike
        assert not is_inside("a\0b")
    with within([Path("/")]):
        assert is_inside(inner.parent)


@pytest.mark.parametrize(
    "target",
    [
        "a.png",
        "../b.png",
        "/",
        "..",
        ".",
        "../inner/a.png",
        "chain",
        "../inner-too/../inner/a.png",
        "more/../a.png",
        "self",
    ],
)
def test_a_link_is_judged_as_any_path(inner: Path, target: str) -> None:
    (inner / "chain").symlink_to("b.png")
    link = inner / "self"
    link.symlink_to(target)
    with within([inner]) as boundary:
        assert boundary.holds_link(str(link)) == boundary.holds(link)


def test_the_words_name_what_helps(inner: Path) -> None:
    told = f"leads outside of the data set, to {inner.parent}/b.png: to allow it, --allow-outside {inner.parent}"
    assert outside(inner / "b.png") == told
    assert outside(inner / "more").endswith(f"--allow-outside {inner.parent}/inner-too")
