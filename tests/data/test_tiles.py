from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from paa.config import AugmentConfig, TilesConfig, TrainTilesConfig, WorkerConfig
from paa.data.augment import TrainTransform
from paa.data.datasets import EvalDataset
from paa.data.images.read import read_image
from paa.data.index import DatasetIndex
from paa.data.loader import train_loader
from paa.data.sampling import Sampling
from paa.data.tiles import tile_boxes, tile_dataset
from paa.data.transforms import Resize
from tests.data.data_files import make_index

NO_WHOLE = {"whole": False, "empty": 1e9}


def draw_index(folder: Path, boxes_each: int = 12, longest: int = 20) -> DatasetIndex:
    """Write images larger than a tile of 64 pixels in both directions, one, or none, with small boxes."""
    index = make_index(folder, [(150, 210), (64, 200), (97, 64), (40, 30)], boxes_each)
    random = np.random.default_rng(1)
    height, width = np.repeat(index.sizes, boxes_each, axis=0).T
    sides = random.integers(2, longest + 1, (len(index.boxes), 2))
    corner = np.round(random.uniform(0, 4, sides.shape) * (np.stack([width, height], 1) - sides)) / 4
    boxes = np.concatenate([corner, corner + sides], 1).astype(np.float32)
    return replace(index, boxes=boxes, areas=sides.prod(1).astype(np.float32))


def in_image(tiled: DatasetIndex, i: int) -> np.ndarray:
    """Return the boxes of a tile in the pixels of its image."""
    assert tiled.windows is not None
    return tiled.boxes[tiled.offsets[i] : tiled.offsets[i + 1]] + np.tile(tiled.windows.corners[i, ::-1], 2)


def rows(boxes: np.ndarray) -> set[tuple[float, ...]]:
    """Return boxes, whose sides are at quarters of a pixel, as a set."""
    return {tuple(box) for box in boxes.tolist()}


@pytest.mark.parametrize("seed", range(60))
def test_tiles_cover_an_image_and_overlap(seed: int) -> None:
    random = np.random.default_rng(seed)
    height, width = random.integers(1, 1500, 2).tolist()
    config = TilesConfig(int(random.integers(32, 400)), float(random.uniform(0, 0.9)))
    tiles = tile_boxes(height, width, config)
    assert (tiles[:, :2] >= 0).all()
    for axis, length in ((0, width), (1, height)):
        starts, ends = np.unique(tiles[:, axis]), np.unique(tiles[:, axis + 2])
        side = min(length, config.size)
        assert (tiles[:, axis + 2] - tiles[:, axis] == side).all()
        assert (starts[0], ends[-1]) == (0, length)
        shared = ends[:-1] - starts[1:]
        assert (shared >= config.overlap * config.size - 1e-6).all()
        assert shared.size == 0 or shared.max() - shared.min() <= 1
        # one tile less would share too little
        assert len(starts) <= 2 or (len(starts) - 1) * (side - config.shared_pixels) + config.shared_pixels < length
    assert len(tiles) == len(np.unique(tiles[:, 0])) * len(np.unique(tiles[:, 1]))


@pytest.mark.parametrize("size", [(32, 32), (31, 20), (1, 32)])
def test_an_image_that_is_not_larger_is_one_tile(size: tuple[int, int]) -> None:
    assert tile_boxes(*size, TilesConfig(32)).tolist() == [[0, 0, size[1], size[0]]]


def test_shared_pixels() -> None:
    assert [TilesConfig(size, overlap).shared_pixels for size, overlap in ((100, 0.0), (100, 0.2), (100, 0.3))] == [
        *(0, 20, 30)
    ]
    assert TilesConfig(513, 0.2).shared_pixels == 103


def test_each_object_is_whole_in_a_tile(tmp_path: Path) -> None:
    index = draw_index(tmp_path)
    tiled = tile_dataset(index, TrainTilesConfig(64, 20 / 64, **NO_WHOLE))
    seen: list[set[tuple[float, ...]]] = [set() for _ in range(len(index))]
    for i in range(len(tiled)):
        seen[tiled.image_ids[i] - 1] |= rows(in_image(tiled, i))
    for i in range(len(index)):
        assert rows(index.targets(i)[0]) <= seen[i]


def test_a_tile_has_the_parts_of_its_objects(tmp_path: Path) -> None:
    """Those of which a quarter is visible, clipped, with their labels; all else is as in the image."""
    index = draw_index(tmp_path)
    tiled = tile_dataset(index, TrainTilesConfig(64, 0.2, **NO_WHOLE))
    count = sum(len(tile_boxes(*size, TilesConfig(64))) for size in index.sizes.tolist())
    assert (len(tiled), tiled.names) == (count, index.names)
    assert tiled.windows is not None
    cut = 0
    for i in range(len(tiled)):
        source = int(tiled.image_ids[i]) - 1
        boxes, labels = index.targets(source)
        (top, left), (height, width) = tiled.windows.corners[i].tolist(), tiled.sizes[i].tolist()
        clipped = np.stack(
            [boxes[:, 0].clip(left), boxes[:, 1].clip(top), *np.minimum(boxes[:, 2:], [left + width, top + height]).T]
        ).T
        sides, whole = (clipped[:, 2:] - clipped[:, :2]).clip(0), boxes[:, 2:] - boxes[:, :2]
        share = sides.prod(1) / whole.prod(1)
        kept = (share >= 0.25) & (sides >= 1).all(1)
        np.testing.assert_allclose(in_image(tiled, i), clipped[kept], atol=1e-3)
        np.testing.assert_array_equal(tiled.targets(i)[1], labels[kept])
        assert tiled.path(i) == index.path(source)
        assert tuple(tiled.windows.file_sizes[i]) == tuple(index.sizes[source])
        cut += int((kept & (share < 1)).sum())
    assert cut > 5


def test_the_pixels_are_those_of_the_tile(tmp_path: Path) -> None:
    index = draw_index(tmp_path)
    tiled = tile_dataset(index, TrainTilesConfig(64, 0.2, **NO_WHOLE)).select(np.array([7, 0, 3, 13]))
    dataset = EvalDataset(tiled, False, Resize(None, 99))
    assert tiled.windows is not None
    for i, (top, left) in enumerate(tiled.windows.corners.tolist()):
        image, boxes, labels = dataset.read(i)
        height, width = tiled.sizes[i].tolist()
        expected = read_image(tiled.path(i))[top : top + height, left : left + width]
        np.testing.assert_array_equal(image.permute(1, 2, 0), expected)
        assert (len(boxes), len(labels)) == (len(tiled.targets(i)[1]),) * 2


def test_crowds_stay_crowds(tmp_path: Path) -> None:
    index = draw_index(tmp_path)
    index = replace(index, crowd=np.arange(len(index.boxes)) % 2 == 0)
    tiled = tile_dataset(index, TrainTilesConfig(64, 0.3, **NO_WHOLE))
    targets = set().union(*(rows(index.targets(i)[0]) for i in range(len(index))))
    parts = [slice(*tiled.offsets[i : i + 2]) for i in range(len(tiled))]
    found = set().union(*(rows(in_image(tiled, i)[~tiled.crowd[part]]) for i, part in enumerate(parts)))
    assert found & rows(index.boxes) == targets


def test_a_share_of_the_empty_tiles_is_kept(tmp_path: Path) -> None:
    index = make_index(tmp_path, [(300, 300)] * 2, boxes_each=1)
    index = replace(index, boxes=np.array([[3, 3, 9, 9], [290, 290, 298, 298]], np.float32))
    every = tile_dataset(index, TrainTilesConfig(64, empty=1000))
    assert len(every) == 2 * 36
    for empty, count in ((0, 2), (0.5, 3), (2.5, 7)):
        tiled = tile_dataset(index, TrainTilesConfig(64, empty=empty))
        assert (len(tiled), len(tiled.boxes)) == (count, 2)
        again = tile_dataset(index, TrainTilesConfig(64, empty=empty))
        np.testing.assert_array_equal(tiled.windows.corners, again.windows.corners)  # type: ignore[union-attr]
    assert len(tile_dataset(index, TrainTilesConfig(64, empty=2.5), keep_empty=False)) == 2


def test_objects_longer_than_the_overlap_are_targets_of_the_whole_image(tmp_path: Path) -> None:
    index = make_index(tmp_path, [(300, 300), (300, 300), (50, 50)], boxes_each=2)
    boxes = [[10, 10, 90, 20], [5, 5, 9, 9], [2, 2, 9, 9], [3, 3, 9, 9], [0, 0, 50, 50], [1, 1, 9, 9]]
    index = replace(index, boxes=np.array(boxes, np.float32))
    tiled = tile_dataset(index, TrainTilesConfig(64))
    (whole,) = np.flatnonzero((tiled.sizes == 300).all(1)).tolist()
    found, labels = tiled.targets(whole)
    assert (found.tolist(), labels.tolist()) == ([boxes[0]], [0])
    assert tiled.path(whole) == index.path(0)
    assert not (tile_dataset(index, TrainTilesConfig(64, whole=False)).sizes == 300).any()


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_of_tiles_do_not_depend_on_workers_or_the_start(tmp_path: Path, workers: int) -> None:
    tiled = tile_dataset(draw_index(tmp_path), TrainTilesConfig(64, empty=1))
    transform = TrainTransform(AugmentConfig((48, 64), 90, scale_jitter=(0.6, 1.5), color_jitter=0.2))

    def batches(start: int, workers: int) -> list[dict[str, torch.Tensor]]:
        loader = train_loader(tiled, transform, Sampling(4, 6, start), workers=WorkerConfig(workers))
        return [vars(batch) for batch in loader]

    expected = batches(0, 0)
    assert any((batch["gt_labels"] >= 0).any() for batch in expected)
    for found, same in ((batches(0, workers), expected), (batches(4, workers), expected[4:])):
        assert len(found) == len(same)
        for one, other in zip(found, same):
            assert all(torch.equal(one[name], other[name]) for name in other)
