from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import paa
from paa.engine.predict import find_pictures, predict
from paa.errors import ConfigError, DataError


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)
    return path


def test_find_pictures(tmp_path: Path) -> None:
    b, a = picture(tmp_path / "in" / "b.JPG"), picture(tmp_path / "in" / "a.png")
    deep = picture(tmp_path / "in" / "deep" / "c.webp")
    (tmp_path / "in" / "folder.jpg").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("")
    odd = picture(tmp_path / "x.png").rename(tmp_path / "no suffix")
    assert find_pictures([odd, tmp_path / "in", a]) == [odd, a, b, deep, a]


def test_find_pictures_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such file or folder"):
        find_pictures([picture(tmp_path / "a.png"), tmp_path / "nowhere"])
    (tmp_path / "empty" / "a.jpg").mkdir(parents=True)
    with pytest.raises(DataError, match=r"empty: no pictures in this folder \(\.bmp, "):
        find_pictures([tmp_path / "empty"])


def test_yields_the_picture_as_shown(checkpoint: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70), dtype=np.uint8)
    ((image, found),) = predict(paa.load(checkpoint, "cpu"), [pixels], limit=7)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.stack([pixels] * 3, axis=2))
    assert len(found) == 7


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batch_size": 0}, "the batch size must be at least 1, got 0"),
        ({"limit": 0}, "the limit must be at least 1, got 0"),
    ],
)
def test_numbers_that_cannot_be(checkpoint: Path, options: dict[str, float], says: str) -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    with pytest.raises(ConfigError, match=says):
        list(predict(paa.load(checkpoint, "cpu"), [pixels], **options))  # type: ignore[arg-type]
