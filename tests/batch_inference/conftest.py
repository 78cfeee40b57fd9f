from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.batch_inference.results import Expected, expected_of


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 12 images of two sizes: 03.jpg is none, and nothing is in 05.png."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for number in range(12):
        size = (48, 64, 3) if number % 3 else (64, 48, 3)
        pixels = np.zeros(size, np.uint8) if number == 5 else random.integers(0, 256, size, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.{'png' if number == 5 else 'jpg'}")
    (folder / "03.jpg").write_text("no image")
    return folder


@pytest.fixture(scope="session")
def images(photos: Path) -> list[str]:
    """Return the addresses of these images, sorted."""
    return sorted(map(str, photos.iterdir()))


@pytest.fixture(scope="session")
def bad(images: list[str]) -> list[str]:
    """Return those that cannot be read."""
    return [images[3]]


@pytest.fixture(scope="session")
def expected(images: list[str], bad: list[str], checkpoint: Path) -> Expected:
    """Return what must be in the results of these images."""
    return expected_of(images, bad, checkpoint)
