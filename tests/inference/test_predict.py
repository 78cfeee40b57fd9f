from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import paa
from paa.config import InferenceConfig
from paa.errors import ConfigError
from paa.inference.predict import predict


def test_yields_the_image_as_shown(checkpoint: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70), dtype=np.uint8)
    ((image, found),) = predict(paa.load(checkpoint, "cpu"), [pixels], InferenceConfig(max_detections=7))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.stack([pixels] * 3, axis=2))
    assert len(found) == 7


def test_a_batch_size_below_one(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match="the batch size must be at least 1, got 0"):
        next(predict(paa.load(checkpoint, "cpu"), [np.zeros((32, 32, 3), np.uint8)], batch_size=0))


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


def test_large_images_do_not_wait_for_a_whole_batch(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paa.inference.predict._MOST_PIXELS", 5 * 64 * 90)
    taken: list[int] = []

    def sources() -> Any:
        for place in range(30):
            taken.append(place)
            yield np.zeros((64, 90, 3), np.uint8)

    found = predict(paa.load(checkpoint, "cpu"), sources(), batch_size=20)
    next(found)
    assert len(taken) == 6
    assert len(list(found)) == 29
