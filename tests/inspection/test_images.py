"""What is known of each image file, and which images look alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from paa.inspection.images import look_at_images, looks_of
from tests.data.data_files import make_index


def scene(seed: int) -> Image.Image:
    """Return an image of blots."""
    blots = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(blots).resize((240, 160), Image.Resampling.BICUBIC)


def differing(a: Image.Image, b: Image.Image) -> int:
    return int((looks_of(np.asarray(a)) != looks_of(np.asarray(b))).sum())


@pytest.mark.parametrize("seed", range(5))
def test_a_version_of_an_image_looks_like_it(tmp_path: Path, seed: int) -> None:
    image = scene(seed)
    image.save(tmp_path / "small.jpg", quality=40)
    versions = [
        Image.open(tmp_path / "small.jpg"),
        image.resize((image.width // 2, image.height // 2)),
        ImageEnhance.Brightness(image).enhance(0.8),
    ]
    assert 80 < looks_of(np.asarray(image)).sum() < 176
    for version in versions:
        assert differing(image, version) < 10
    assert differing(image, scene(seed + 100)) > 60


def test_content_is_that_of_the_pixels(tmp_path: Path) -> None:
    index = make_index(tmp_path, [(60, 80)] * 4)
    pixels = Image.open(index.path(0))
    pixels.save(index.path(1), compress_level=0)  # another file of the same pixels
    index.path(2).write_bytes(index.path(0).read_bytes())
    decoded, as_files = look_at_images(index, threads=3), look_at_images(index, decode=False)
    contents = [fact.content for fact in decoded]
    assert contents[0] == contents[1] == contents[2] != contents[3]
    files = [fact.content for fact in as_files]
    assert files[0] == files[2]
    assert len({files[0], files[1], files[3]}) == 3
    assert all(fact.looks is None for fact in as_files)


def test_damage_is_told(tmp_path: Path) -> None:
    index = make_index(tmp_path, [(60, 80)] * 4)
    whole = index.path(0).read_bytes()
    index.path(0).write_bytes(whole[: len(whole) - 40])
    index.path(1).write_bytes(whole[: len(whole) // 3])
    Image.new("RGB", (70, 60)).save(index.path(2))
    advanced: list[int] = []
    facts = look_at_images(index, advance=advanced.append)
    assert "the end of the file is missing" in facts[0].remarks[0]
    assert not facts[0].error
    assert str(index.path(1)) in facts[1].error
    assert facts[1].content is None
    assert "is 60 high and 70 wide as shown" in facts[2].error
    assert facts[3].error == ""
    assert facts[3].remarks == ()
    assert sum(advanced) == 4


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    index = make_index(tmp_path, [(60, 80)] * 2)
    index.path(1).unlink()
    for decode in (True, False):
        facts = look_at_images(index, decode)
        assert facts[0].content
        assert str(index.path(1)) in facts[1].error
