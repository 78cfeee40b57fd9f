from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from paa.config import AugmentConfig
from paa.data.augment import TrainTransform
from paa.data.batch import Sample
from paa.data.mosaic import make_mosaic

TRANSFORM = TrainTransform(AugmentConfig((50, 70), 110, 0.5, scale_jitter=(0.8, 1.25)))


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def spots(height: int, width: int) -> list[Sample]:
    """Four images with one object each: a bright square on an image of its own dark grey."""
    samples = []
    for label in range(4):
        image = torch.full((3, height, width), 10 * (label + 1), dtype=torch.uint8)
        y, x = height // 3, width // 4
        image[:, y : y + height // 4, x : x + height // 4] = 255
        box = torch.tensor([[x, y, x + height // 4, y + height // 4]], dtype=torch.float32)
        samples.append((image, box, torch.tensor([label])))
    return samples


def mosaics(height: int = 90, width: int = 120, seeds: int = 40) -> Iterator[tuple[int, Sample]]:
    for seed in range(seeds):
        made = make_mosaic(spots(height, width), TRANSFORM, rng(seed))
        assert made is not None
        yield seed, made


def test_the_size_is_that_of_the_first_image() -> None:
    for seed, (image, _, _) in mosaics():
        assert tuple(image.shape[1:]) == TRANSFORM.draw(90, 120, rng(seed)).window[2:]
        assert image.dtype == torch.uint8


def test_each_of_the_four_fills_a_part() -> None:
    for _, (image, _, _) in mosaics():
        height, width = image.shape[1:]
        corners = image[0][[0, 0, height - 1, height - 1], [0, width - 1, 0, width - 1]].tolist()
        dark = [grey if grey < 60 else None for grey in corners]  # an object may lie in a corner
        assert all(grey in (None, 10 * (label + 1)) for label, grey in enumerate(dark))
        assert int(image.min()) >= 10  # no pixel is left without an image
        for label in range(4):
            assert 0.09 * 0.8 < (image[0] == 10 * (label + 1)).sum() / (height * width) < 0.49


def test_boxes_follow_their_objects() -> None:
    """A box of bright pixels up to its sides, and none beyond them."""
    seen, labels_seen = 0, set()
    for _, (image, boxes, labels) in mosaics(seeds=60):
        bright = image[0] > 160
        for box, label in zip(boxes, labels.tolist()):
            x1, y1, x2, y2 = (round(side) for side in box.tolist())
            assert bright[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1].all()
            assert bright[max(0, y1 - 3) : y2 + 3, max(0, x1 - 3) : x2 + 3].sum() <= (y2 - y1 + 2) * (x2 - x1 + 2)
            seen += 1
            labels_seen.add(label)
    assert seen > 120
    assert labels_seen == {0, 1, 2, 3}


def test_the_same_seed_makes_the_same_mosaic() -> None:
    first, again, other = (make_mosaic(spots(90, 120), TRANSFORM, rng(seed)) for seed in (3, 3, 4))
    assert first is not None
    assert again is not None
    assert other is not None
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert first[0].shape != other[0].shape or not torch.equal(first[0], other[0])


def test_images_without_objects() -> None:
    empty = [(image, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)) for image, _, _ in spots(90, 120)]
    made = make_mosaic(empty, TRANSFORM, rng(0))
    assert made is not None
    assert made[1].shape == (0, 4)
    assert made[2].shape == (0,)


@pytest.mark.parametrize("size", [(3, 900), (900, 3), (1, 5000)])
def test_long_narrow_images_are_stretched_over_their_part(size: tuple[int, int]) -> None:
    samples = spots(90, 120)
    samples[2] = (torch.full((3, *size), 200, dtype=torch.uint8), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    made = make_mosaic(samples, TRANSFORM, rng(0))
    assert made is not None
    assert int(made[0].min()) >= 10
    assert int(made[0][0, -1, 0]) == 200


def test_too_narrow_a_first_image_is_no_mosaic() -> None:
    assert make_mosaic([*spots(3, 900)], TRANSFORM, rng(0)) is None
