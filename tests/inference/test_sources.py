from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from paa.errors import DataError
from paa.inference.sources import Named, expected_images, find_images, find_sources
from paa.report.outputs.drawings import save_drawing


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


def test_a_drawing_is_known_by_itself_too(tmp_path: Path) -> None:
    """Where a later run, which drew nothing, named none in detections.json."""
    given, other = image(tmp_path / "a.png"), image(tmp_path / "b.jpg")
    save_drawing(Image.new("RGB", (9, 9)), tmp_path / "a.jpg")
    assert find_images([tmp_path], tmp_path) == [given, other]
    assert [named.name for named in find_sources([str(tmp_path)], tmp_path)] == [str(given), str(other)]


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


def test_find_sources(tmp_path: Path) -> None:
    photo, deep = image(tmp_path / "in" / "b.jpg"), image(tmp_path / "in" / "deep" / "c.png")
    (tmp_path / "in" / "a.MP4").write_bytes(b"")
    (tmp_path / "in" / "notes.txt").write_text("")
    clip = Named(str(tmp_path / "in" / "a.MP4"), "video")
    inside = [clip, Named(str(photo)), Named(str(deep))]
    assert find_sources([str(tmp_path / "in")]) == inside
    assert find_sources([str(tmp_path / "in" / "*.*")]) == inside[:2]
    url = "https://a.org/photo.jpg?x=[1]*"
    given = [url, "camera:0", "/dev/video7", str(photo), "HTTP://b.org//x"]
    assert find_sources(given) == [
        Named(url, "url"),
        Named("camera:0", "camera"),
        Named("/dev/video7", "camera"),
        Named(str(photo), "image"),
        Named("HTTP://b.org//x", "url"),
    ]


def test_videos_without_a_suffix_are_found_by_their_content(tmp_path: Path) -> None:
    (tmp_path / "clip").write_bytes(b"\0\0\0\x18ftypisom")
    (tmp_path / "photo.jpg").write_bytes(b"\0\0\0\x18ftypisom")  # its suffix says that it is an image
    photo = image(tmp_path / "x.png").rename(tmp_path / "photo")
    kinds = [named.kind for name in ("clip", "photo.jpg", "photo") for named in find_sources([str(tmp_path / name)])]
    assert kinds == ["video", "image", "image"]
    assert find_sources([str(tmp_path)]) == [Named(str(tmp_path / "photo.jpg"))]
    assert photo.exists()


def test_find_sources_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: no images or videos in this folder \(.*\.mkv, \.mov, \.mp4"):
        find_sources([str(tmp_path / "empty")])
    with pytest.raises(DataError, match=r"\*\.mp4: no image or video fits this pattern"):
        find_sources([str(tmp_path / "*.mp4")])
    with pytest.raises(DataError, match=r"^s3://a/b.jpg: a URL, not a path: download it first"):
        find_sources(["s3://a/b.jpg"])
    with pytest.raises(DataError, match=r"^nowhere: no such file or folder$"):
        find_sources(["nowhere"])


def test_stems() -> None:
    stems = {
        Named("/a/b.c.jpg"): "b.c",
        Named("clip.mp4", "video"): "clip",
        Named("https://a.org/x/photo.jpg?y=z.png", "url"): "photo",
        Named("https://a.org/", "url"): "a",
        Named("camera:2", "camera"): "camera-2",
        Named("/dev/video2", "camera"): "camera-2",
    }
    assert {named: named.stem for named in stems} == stems


def test_how_many_images_to_expect(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="av is an extra")
    from tests.videos import shades, write_video

    clip = Named(str(write_video(tmp_path / "a.mp4", shades(25))), "video")
    photo, url = Named("a.jpg"), Named("https://a.org/a.jpg", "url")
    assert expected_images([photo, url, clip, clip]) == 52
    assert expected_images([clip, photo], every=10) == 4
    assert expected_images([photo, Named("camera:0", "camera")]) is None
    assert expected_images([photo, Named(str(tmp_path / "none.mp4"), "video")]) is None
