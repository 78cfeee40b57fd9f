from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paa.data.images.read import read_image
from paa.data.read import read_dataset
from paa.data.shapes import NAMES, draw_image, make_shapes
from paa.errors import ConfigError


def test_written_and_read_back(tmp_path: Path) -> None:
    folder = make_shapes(tmp_path / "shapes", 10, seed=0)
    train, val = read_dataset(folder), read_dataset(folder, "val")
    assert (len(train), len(val)) == (8, 2)
    assert train.names == val.names == NAMES
    assert not set(train.file_names) & set(val.file_names)
    for index in (train, val):
        assert (np.diff(index.offsets) >= 1).all()
        for i in range(len(index)):
            height, width = index.sizes[i].tolist()
            assert read_image(index.path(i), (height, width)).std() > 1
            boxes, labels = index.targets(i)
            assert (boxes >= 0).all()
            assert (boxes <= [width, height, width, height]).all()
            assert set(labels.tolist()) <= {0, 1, 2, 3}


def test_same_seed_same_files(tmp_path: Path) -> None:
    one, same, other = (make_shapes(tmp_path / str(i), 6, seed) for i, seed in enumerate((3, 3, 4)))
    for file in ("train.json", "val.json", "images/000002.jpg"):
        assert (one / file).read_bytes() == (same / file).read_bytes()
        assert (one / file).read_bytes() != (other / file).read_bytes()
    more = make_shapes(tmp_path / "more", 8, 3)
    assert (more / "images/000005.jpg").read_bytes() == (one / "images/000005.jpg").read_bytes()


@pytest.mark.parametrize("seed", range(3))
def test_sizes_counts_and_classes(seed: int) -> None:
    images = [draw_image(np.random.default_rng([seed, i]), (160, 192)) for i in range(60)]
    shapes = {image.shape for image, _, _ in images}
    assert all(sorted(shape[:2])[0] == 160 and max(shape) <= 192 for shape in shapes)
    assert 15 < sum(image.shape[0] > image.shape[1] for image, _, _ in images) < 45
    labels = np.concatenate([labels for _, _, labels in images])
    assert (np.bincount(labels, minlength=4) > 20).all()
    boxes = np.concatenate([boxes for _, boxes, _ in images])
    sides = boxes[:, 2:] - boxes[:, :2]
    assert 21 <= sides.min() < 40
    assert 90 < sides.max() <= 121
    circles = sides[labels == 0]
    assert np.abs(circles[:, 0] - circles[:, 1]).max() <= 1


class Quiet(np.random.Generator):
    """Draws no noise."""

    def normal(self, loc: float, scale: float, size: tuple[int, ...]) -> np.ndarray:  # type: ignore[override]
        return np.zeros(size)


@pytest.mark.parametrize("seed", range(20))
def test_boxes_are_tight(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """One object alone on a flat background differs from it exactly inside its box."""
    monkeypatch.setattr("paa.data.shapes._MOST_OBJECTS", 1)
    monkeypatch.setattr("paa.data.shapes._draw_clutter", lambda *_: None)
    monkeypatch.setattr("paa.data.shapes._gradient", lambda _, base, h, w: np.tile(base.astype(np.uint8), (h, w, 1)))
    image, boxes, _ = draw_image(Quiet(np.random.PCG64(seed)), (100, 120))
    seen = (image != image[0, 0]).any(axis=2)
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    assert np.abs(np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) - boxes[0]).max() <= 0.5


def test_refuses_too_few_and_too_small(tmp_path: Path) -> None:
    for images, size in ((1, (160, 192)), (10, (30, 192))):
        with pytest.raises(ConfigError):
            make_shapes(tmp_path, images, 0, size)
