from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from paa.data.images.read import as_rgb
from paa.errors import ImageError

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def test_a_pil_image_stays_as_it_was() -> None:
    image = Image.fromarray(RGB)
    for orientation, expected in ((1, RGB), (6, np.rot90(RGB, -1))):
        image.getexif()[274] = orientation
        rgb = as_rgb(image)
        np.testing.assert_array_equal(rgb, expected)
        rgb[:] = 0
        np.testing.assert_array_equal(np.asarray(image), RGB)
        assert image.getexif()[274] == orientation


def test_as_rgb_takes_every_form(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path)
    tensor = torch.from_numpy(RGB).permute(2, 0, 1)
    alpha = np.dstack([RGB, np.full((20, 30), 255, np.uint8)])
    forms = [path, str(path), Image.fromarray(RGB), RGB, RGB / 255, (RGB / 255).astype(np.float32), alpha]
    forms += [RGB.astype(np.uint16) * 257, tensor, tensor / 255, RGB[:, ::-1][:, ::-1]]
    for form in forms:
        rgb = as_rgb(form)
        assert rgb.dtype == np.uint8
        np.testing.assert_array_equal(rgb, RGB)
    grey = RGB[:, :, 0]
    for form in [grey, grey[:, :, None], Image.fromarray(grey), torch.from_numpy(grey)[None], grey / 255]:
        np.testing.assert_array_equal(as_rgb(form), np.dstack([grey] * 3))


def test_as_rgb_takes_half_precision() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        assert (as_rgb(torch.full((3, 4, 4), 0.5, dtype=dtype)) == 128).all()


def test_as_rgb_lays_alpha_on_white() -> None:
    array = np.zeros((4, 4, 4))
    assert (as_rgb(array) == 255).all()


@pytest.mark.parametrize(
    "source",
    [
        np.zeros((3, 20, 30), np.uint8),
        np.zeros((20, 30, 2), np.uint8),
        np.zeros((0, 30, 3), np.uint8),
        np.zeros((20, 30, 3), np.int64),
        np.full((20, 30, 3), 255.0),
        np.full((20, 30, 3), np.nan),
        np.zeros(20, np.uint8),
        torch.zeros(20, 30),
        torch.zeros(1, 3, 20, 30),
        None,
        17,
    ],
    ids=lambda source: f"{type(source).__name__}{getattr(source, 'shape', '')}",
)
def test_as_rgb_refuses(source: object) -> None:
    with pytest.raises(ImageError, match="expected") as caught:
        as_rgb(source)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_grey_image_of_32_bits_with_8_bit_values_is_not_taken_for_black(tmp_path: Path) -> None:
    grey = Image.fromarray(np.full((4, 4), 218, np.uint8))
    with pytest.raises(ImageError, match="mode I with no value above 255"):
        as_rgb(grey.convert("I"))
    assert as_rgb(grey).min() == 218
    dark = Image.fromarray(np.full((4, 4), 200, np.uint16))
    dark.save(tmp_path / "dark.png")  # 16 bits in a file are what they are
    assert as_rgb(tmp_path / "dark.png").max() <= 1
