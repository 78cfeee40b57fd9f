from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

from paa.data.transforms import Resize, adjust_colors, crop, hflip, resize, resized_size, scale_boxes


def exact_size(height: int, width: int, min_size: int, max_size: int) -> tuple[int, int]:
    """The rule of the seed's Resize in whole numbers and fractions, where no rounding of floats can hide a mistake.

    The short side becomes min_size, or, where the long side would then exceed max_size, its share of max_size, rounded;
    the long side is truncated.
    """
    small, large = sorted((height, width))
    if min_size * large > max_size * small:
        min_size = round(Fraction(max_size * small, large))
    sides = min_size, min_size * large // small
    return sides if height <= width else sides[::-1]


def random_boxes(seed: int, height: int, width: int, count: int = 20) -> torch.Tensor:
    random = np.random.default_rng(seed)
    x = np.sort(random.uniform(0, width - 1, (count, 2)), axis=1)
    y = np.sort(random.uniform(0, height - 1, (count, 2)), axis=1)
    # a pixel at least, the least that inclusive coordinates can express
    return torch.tensor(np.stack([x[:, 0], y[:, 0], x[:, 1] + 1, y[:, 1] + 1], axis=1), dtype=torch.float32)


@pytest.mark.parametrize("seed", range(5))
def test_resized_size_is_exact(seed: int) -> None:
    random = np.random.default_rng(seed)
    for _ in range(400):
        height, width = random.integers(30, 2000, 2).tolist()
        short = int(random.integers(100, 900))
        for max_size in (int(short * 1.5), 1333, 10**6):
            assert resized_size(height, width, short, max_size) == exact_size(height, width, short, max_size)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ((480, 640, 800, 1333), (800, 1066)),
        ((640, 480, 800, 1333), (1066, 800)),
        ((1, 9000, 800, 1333), (1, 1333)),
        ((3000, 2, 800, 1333), (1500, 1)),
    ],
)
def test_resized_size_of(given: tuple[int, int, int, int], wanted: tuple[int, int]) -> None:
    assert resized_size(*given) == wanted


def test_resize_for_detection() -> None:
    boxes = random_boxes(0, 60, 80)
    image = torch.zeros((3, 60, 80), dtype=torch.uint8)
    for min_size, legacy, size in ((30, False, (30, 40)), (60, True, (48, 64)), (None, False, (60, 80))):
        transform = Resize(min_size, 64, legacy)
        assert transform.size_of(60, 80) == size
        resized, moved = transform(image, boxes)
        assert resized.shape == (3, *size)
        assert torch.equal(moved, boxes if min_size is None else scale_boxes(boxes, (60, 80), size, legacy))


@pytest.mark.parametrize("legacy", [False, True])
def test_restore_inverts_resize(legacy: bool) -> None:
    for seed, (before, after) in enumerate([((60, 80), (120, 161)), ((60, 80), (33, 47)), ((7, 5), (800, 1333))]):
        boxes = random_boxes(seed, *before)
        image = torch.zeros((3, *before), dtype=torch.uint8)
        resized, moved = resize(image, boxes, after, legacy)
        assert resized.shape == (3, *after)
        torch.testing.assert_close(scale_boxes(moved, after, before, legacy), boxes, atol=1e-4, rtol=1e-5)


def test_legacy_boxes_of_less_than_a_pixel_stay_boxes() -> None:
    thin = torch.tensor([[10.0, 6.0, 10.3, 6.9]])
    for before, after in (((60, 80), (120, 161)), ((60, 80), (33, 47))):
        x1, y1, x2, y2 = scale_boxes(thin, before, after, legacy=True)[0].tolist()
        assert (x2 - x1, y2 - y1) == pytest.approx((1, 1), abs=1e-5)


def test_scale_boxes_continuous_and_legacy() -> None:
    boxes = torch.tensor([[0.0, 0.0, 80.0, 60.0], [10.0, 6.0, 20.0, 12.0]])
    continuous = scale_boxes(boxes, (60, 80), (120, 240), legacy=False)
    assert continuous.tolist() == [[0, 0, 240, 120], [30, 12, 60, 24]]
    inclusive = boxes - torch.tensor([0.0, 0, 1, 1])  # what the seed holds and multiplies
    scaled = inclusive * torch.tensor([3.0, 2, 3, 2])
    legacy = scale_boxes(boxes, (60, 80), (120, 240), legacy=True)
    assert legacy.tolist() == (scaled + torch.tensor([0.0, 0, 1, 1])).tolist()


def test_resize_is_close_to_pillow() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    for height, width in ((25, 35), (80, 100), (50, 71)):
        image, _ = resize(torch.from_numpy(pixels).permute(2, 0, 1), torch.zeros(0, 4), (height, width), False)
        pillow = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
        assert image.dtype == torch.uint8
        assert np.abs(image.permute(1, 2, 0).numpy().astype(int) - pillow).max() <= 1


def test_flip_moves_boxes_with_the_image() -> None:
    image = torch.zeros((3, 40, 50), dtype=torch.uint8)
    image[:, 5:10, 8:20] = 255
    flipped, boxes = hflip(image, torch.tensor([[8.0, 5.0, 20.0, 10.0]]))
    x1, y1, x2, y2 = boxes[0].int().tolist()
    assert flipped[:, y1:y2, x1:x2].float().mean() == 255
    assert flipped.sum() == image.sum()
    again, back = hflip(flipped, boxes)
    assert torch.equal(again, image)
    assert back.tolist() == [[8, 5, 20, 10]]
    assert hflip(image, torch.zeros(0, 4))[1].shape == (0, 4)


def test_crop_keeps_what_is_visible_enough() -> None:
    image = torch.arange(3 * 40 * 50).view(3, 40, 50).to(torch.uint8)
    boxes = torch.tensor(
        [
            [10.0, 10, 20, 20],  # whole
            [0, 10, 10, 20],  # outside, touching
            [2, 10, 12, 20],  # a fifth is left
            [4, 10, 14, 20],  # two fifths are left
            [30, 10, 30.5, 10.5],  # smaller than a pixel, but whole
            [9.6, 10, 10.5, 20],  # more than half, but of less than a pixel
        ]
    )
    cut, left, kept = crop(image, boxes, (5, 10, 30, 25))
    assert torch.equal(cut, image[:, 5:35, 10:35])
    assert kept.tolist() == [True, False, False, True, True, False]
    assert left.tolist() == [[0, 5, 10, 15], [0, 5, 4, 15], [20, 5, 20.5, 5.5]]


@pytest.mark.parametrize("seed", range(5))
def test_crop_leaves_boxes_inside(seed: int) -> None:
    image = torch.zeros((3, 60, 80), dtype=torch.uint8)
    cut, left, kept = crop(image, random_boxes(seed, 60, 80), (13, 17, 30, 41))
    assert cut.shape == (3, 30, 41)
    assert len(left) == int(kept.sum()) > 0
    assert (left >= 0).all()
    assert (left <= torch.tensor([41, 30, 41, 30])).all()
    assert (left[:, 2:] > left[:, :2]).all()


def test_colors_as_torchvision_has_them() -> None:
    image = torch.from_numpy(np.random.default_rng(0).integers(60, 180, (3, 20, 30), dtype=np.uint8))
    assert torch.equal(adjust_colors(image, 1, 1, 1), image)
    for name, factors in (("brightness", (1.3, 1, 1)), ("contrast", (1, 0.7, 1)), ("saturation", (1, 1, 0.4))):
        wanted = getattr(functional, f"adjust_{name}")(
            image, factors[("brightness", "contrast", "saturation").index(name)]
        )
        assert (adjust_colors(image, *factors).int() - wanted.int()).abs().max() <= 2


def test_colors_are_one_matrix_and_one_offset() -> None:
    whole = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)).permute(2, 0, 1)
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    for image in (whole, whole[:, 5:30, 7:40], whole[:, :25].contiguous(), whole.flip(2)):
        bright = 1.2 * image.double()
        mean = (weights @ bright.reshape(3, -1)).mean()
        contrasted = 0.9 * bright + (1 - 0.9) * mean
        grey = torch.einsum("c,chw->hw", weights, contrasted)
        wanted = (0.7 * contrasted + (1 - 0.7) * grey).clamp(0, 255)
        assert (adjust_colors(image, 1.2, 0.9, 0.7) - wanted).abs().max() <= 0.5 + 1e-3


def test_colors_stay_in_range() -> None:
    image = torch.tensor([0, 255], dtype=torch.uint8).repeat(3, 4, 5)
    assert adjust_colors(image, 2.0, 2.0, 2.0).max() == 255
    assert adjust_colors(image, 0.0, 1.0, 1.0).max() == 0
