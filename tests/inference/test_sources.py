from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from paa.errors import DataError
from paa.inference.sources import find_images


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)
    return path


def test_find_images(tmp_path: Path) -> None:
    b, a = image(tmp_path / "in" / "b.JPG"), image(tmp_path / "in" / "a.png")
    deep = image(tmp_path / "in" / "deep" / "c.webp")
    (tmp_path / "in" / "folder.jpg").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("")
    odd = image(tmp_path / "x.png").rename(tmp_path / "no suffix")
    assert find_images([odd, tmp_path / "in", a]) == [odd, a, b, deep, a]


def test_find_images_of_newer_kinds_and_not_hidden_ones(tmp_path: Path) -> None:
    kinds = [image(tmp_path / "a.png").rename(tmp_path / f"a{suffix}") for suffix in (".JFIF", ".avif", ".heic")]
    for hidden in (".b.jpg", "._a.png", ".ipynb_checkpoints/a.png", ".trash/deep/a.png"):
        image(tmp_path / "x.png").rename(tmp_path / "x.moved")
        (tmp_path / hidden).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x.moved").rename(tmp_path / hidden)
    assert find_images([tmp_path]) == sorted(kinds)


def test_find_images_in_linked_folders(tmp_path: Path) -> None:
    inside = image(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(inside.parent)
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "in")
    assert find_images([tmp_path / "in"]) == [tmp_path / "in" / "link" / "a.png"]


def test_find_images_leaves_out_what_an_earlier_run_drew(tmp_path: Path) -> None:
    given = image(tmp_path / "a.png")
    output = tmp_path / "predictions"
    drawn, other = image(output / "a.jpg"), image(output / "b.jpg")
    assert find_images([tmp_path], output) == [given, drawn, other]
    (output / "detections.json").write_text('[{"file": "a.png", "drawn": "a.jpg"}]')
    assert find_images([tmp_path], output) == [given, other]
    assert find_images([drawn], output) == [drawn]  # a path that is named is taken
    for broken in ("[", "3", '[{"file": 1}]', "[3]"):
        (output / "detections.json").write_text(broken)
        assert find_images([tmp_path], output) == [given, drawn, other]


def test_find_images_by_a_pattern(tmp_path: Path) -> None:
    paths = [image(tmp_path / name) for name in ("in/a.JPG", "in/b.png", "in/deep/c.png", "in/.hidden.png")]
    (tmp_path / "in" / "notes.txt").write_text("")
    assert find_images([tmp_path / "in" / "*"]) == paths[:2]
    assert find_images([tmp_path / "in" / "**" / "*"]) == paths[:3]
    assert find_images([tmp_path / "i?" / "[b-c].png", paths[0]]) == [paths[1], paths[0]]
    odd = image(tmp_path / "odd[1]*.png")
    assert find_images([odd]) == [odd]  # a file that exists is no pattern
    (tmp_path / "in" / "detections.json").write_text('[{"file": "x", "drawn": "b.png"}]')
    assert find_images([tmp_path / "in" / "*"], tmp_path / "in") == paths[:1]
    with pytest.raises(DataError, match=r"\*\.bmp: no image fits this pattern"):
        find_images([tmp_path / "*.bmp"])


def test_find_images_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such file or folder"):
        find_images([image(tmp_path / "a.png"), tmp_path / "nowhere"])
    for url in ("https://example.com/a.jpg", "http://example.com/"):
        with pytest.raises(DataError, match=f"{url[:-1]}.*: a URL, not a path: download it first"):
            find_images([Path(url)])
    (tmp_path / "empty" / "a.jpg").mkdir(parents=True)
    with pytest.raises(DataError, match=r"empty: no images in this folder \(.*\.bmp, "):
        find_images([tmp_path / "empty"])
