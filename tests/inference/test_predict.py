from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import paa
from paa.config import InferenceConfig
from paa.errors import ConfigError, DataError
from paa.inference.predict import find_images, predict


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
    assert find_images([drawn], output) == [drawn]  # it is named
    for broken in ("[", "3", '[{"file": 1}]', "[3]"):
        (output / "detections.json").write_text(broken)
        assert find_images([tmp_path], output) == [given, drawn, other]


def test_find_images_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such file or folder"):
        find_images([image(tmp_path / "a.png"), tmp_path / "nowhere"])
    for url in ("https://example.com/a.jpg", "http://example.com/"):
        with pytest.raises(DataError, match=f"{url[:-1]}.*: a URL, not a path: download it first"):
            find_images([Path(url)])
    (tmp_path / "empty" / "a.jpg").mkdir(parents=True)
    with pytest.raises(DataError, match=r"empty: no images in this folder \(.*\.bmp, "):
        find_images([tmp_path / "empty"])


def test_yields_the_image_as_shown(checkpoint: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70), dtype=np.uint8)
    ((image, found),) = predict(paa.load(checkpoint, "cpu"), [pixels], inference=InferenceConfig(max_detections=7))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.stack([pixels] * 3, axis=2))
    assert len(found) == 7


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batch_size": 0}, "the batch size must be at least 1, got 0"),
        ({"inference": InferenceConfig(max_detections=0)}, "max_detections must be at least 1, got 0"),
        ({"inference": InferenceConfig(nms_iou=1.5)}, "nms_iou must be from 0 to 1, got 1.5"),
        ({"inference": InferenceConfig(candidate_threshold=-1)}, "candidate_threshold must be from 0 to 1, got -1"),
    ],
)
def test_numbers_that_cannot_be(checkpoint: Path, options: dict[str, Any], says: str) -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    with pytest.raises(ConfigError, match=says):
        list(predict(paa.load(checkpoint, "cpu"), [pixels], **options))


@pytest.mark.parametrize("batch_size", [2, 3, 8])
def test_a_batch_gives_each_image_what_it_gives_alone_in_the_order_given(checkpoint: Path, batch_size: int) -> None:
    """Also where images of a rare size would wait for others of theirs for ever."""
    model, random = paa.load(checkpoint, "cpu"), np.random.default_rng(0)
    sizes = [(64, 90), (40, 40), (90, 64), *[(64, 90)] * 14, (90, 64), (50, 60), (64, 70)]
    images = [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    alone = [model.predict(image) for image in images]
    assert min(map(len, alone)) > 5
    together = list(predict(model, images, batch_size=batch_size))
    assert len(together) == len(images)
    for (shown, found), image, expected in zip(together, images, alone, strict=True):
        np.testing.assert_array_equal(shown, image)
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-5)
        np.testing.assert_allclose(found.boxes, expected.boxes, rtol=0, atol=1e-3)


def test_an_image_of_a_rare_size_does_not_wait_for_the_end(checkpoint: Path) -> None:
    taken: list[int] = []

    def sources() -> Any:
        for place in range(30):
            taken.append(place)
            yield np.zeros((40 if place == 0 else 90, 64, 3), np.uint8)

    found = predict(paa.load(checkpoint, "cpu"), sources(), batch_size=2)
    next(found)
    assert len(taken) <= 10  # four batches, and one image more
