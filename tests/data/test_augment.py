from __future__ import annotations

import numpy as np
import pytest
import torch

from paa.config import AugmentConfig
from paa.data.augment import TrainTransform
from paa.data.transforms import resized_size

IMAGE = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 60, 80), dtype=np.uint8))
BOXES = torch.tensor([[10.0, 10, 30, 40], [50, 20, 80, 60]])
LABELS = torch.tensor([4, 2])


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_range_of_min_sizes() -> None:
    transform = TrainTransform(AugmentConfig(min_sizes=(40, 50), max_size=60))
    sizes = {transform.draw(60, 80, rng(seed)).size for seed in range(300)}
    assert sizes == {resized_size(60, 80, short, 60) for short in range(40, 51)}
    fixed = TrainTransform(AugmentConfig(min_sizes=(40,), max_size=60))
    assert {fixed.draw(60, 80, rng(seed)).size for seed in range(20)} == {(40, 53)}


@pytest.mark.parametrize(("probability", "low", "high"), [(0.0, 0, 0), (1.0, 200, 200), (0.5, 70, 130)])
def test_mirroring(probability: float, low: int, high: int) -> None:
    transform = TrainTransform(AugmentConfig(hflip=probability))
    assert low <= sum(transform.draw(60, 80, rng(seed)).mirrored for seed in range(200)) <= high


def test_plain_resize_is_nothing_more() -> None:
    transform = TrainTransform(AugmentConfig(min_sizes=(60,), max_size=80, hflip=0.0))
    geometry = transform.draw(60, 80, rng(0))
    image, boxes, labels = transform.apply(IMAGE, BOXES, LABELS, geometry, rng(0))
    assert torch.equal(image, IMAGE)
    assert torch.equal(boxes, BOXES)
    assert torch.equal(labels, LABELS)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("size", [(60, 80), (80, 60)])
def test_everything_at_once_stays_consistent(seed: int, size: tuple[int, int]) -> None:
    transform = TrainTransform(AugmentConfig((60, 90), 110, 0.5, scale_jitter=(0.5, 2.0), color_jitter=0.3))
    source = IMAGE if size == (60, 80) else IMAGE.transpose(1, 2)
    geometry = transform.draw(*size, rng(seed))
    assert geometry == transform.draw(*size, rng(seed))
    image, boxes, labels = transform.apply(source, BOXES[:1], LABELS[:1], geometry, rng(seed + 1))
    assert image.dtype == torch.uint8
    assert tuple(image.shape[1:]) == geometry.window[2:]
    assert max(image.shape[1:]) <= 110  # never larger than without jitter
    assert len(boxes) == len(labels) <= 1
    again = transform.apply(source, BOXES[:1], LABELS[:1], geometry, rng(seed + 1))
    assert torch.equal(again[0], image)


def test_thin_images_keep_their_shape_and_their_objects() -> None:
    transform = TrainTransform(AugmentConfig((800,), 352, 0.0, scale_jitter=(0.9, 1.1)))
    thin, whole = torch.zeros((3, 12, 900), dtype=torch.uint8), torch.tensor([[0.0, 0, 900, 12]])
    for seed in range(20):
        random = rng(seed)
        geometry = transform.draw(12, 900, random)
        assert geometry.size[0] in (4, 5, 6)  # 5 at the size of training
        image, boxes, _ = transform.apply(thin, whole, torch.zeros(1), geometry, random)
        assert len(boxes) == 1
        assert image.shape[1] <= 6


def test_boxes_follow_the_image() -> None:
    """A white object on black is where its box is, whatever was drawn."""
    transform = TrainTransform(AugmentConfig((50, 70), 110, 0.5, scale_jitter=(0.6, 1.6)))
    image = torch.zeros((3, 60, 80), dtype=torch.uint8)
    image[:, 20:40, 30:60] = 255
    seen = 0
    for seed in range(40):
        random = rng(seed)
        geometry = transform.draw(60, 80, random)
        changed, boxes, _ = transform.apply(image, torch.tensor([[30.0, 20, 60, 40]]), torch.zeros(1), geometry, random)
        for box in boxes:
            rows, columns = (torch.nonzero(changed[0].amax(1 - d) > 127).flatten() for d in (0, 1))
            found = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            assert (found - box).abs().max() <= 1
            seen += 1
    assert seen > 30


def test_images_without_objects() -> None:
    transform = TrainTransform(AugmentConfig((60,), 110, 1.0, scale_jitter=(1.5, 2.0), color_jitter=0.1))
    geometry = transform.draw(60, 80, rng(0))
    _, boxes, labels = transform.apply(IMAGE, torch.zeros(0, 4), torch.zeros(0), geometry, rng(0))
    assert boxes.shape == (0, 4)
    assert labels.shape == (0,)
