"""Overlapping tiles of large images: where they lie, and a data set of tiles to train on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from paa.config import TilesConfig, TrainTilesConfig
from paa.data.index import DatasetIndex, Windows

_LEAST_VISIBLE = 0.25  # share of its area that an object keeps in a tile to be a target, as in a random crop
_SEED = 0  # of the choice among tiles without objects, which must not change when a run is resumed

Tiles = npt.NDArray[np.int64]


def tile_boxes(height: int, width: int, config: TilesConfig) -> Tiles:
    """Return the tiles (T, 4) of an image as xyxy pixels, row by row.

    They are as few as cover the image and share at least `config.shared_pixels`, and evenly spread, the last ones at
    the image's edges. A side that is not longer than a tile is not divided.
    """
    tops, lefts = _starts(height, config), _starts(width, config)
    top, left = (grid.ravel() for grid in np.meshgrid(tops, lefts, indexing="ij"))
    return np.stack([left, top, left + min(width, config.size), top + min(height, config.size)], axis=1)


def _starts(length: int, config: TilesConfig) -> npt.NDArray[np.int64]:
    """Return the first pixel of each tile along a side."""
    rest = length - config.size
    if rest <= 0:
        return np.zeros(1, np.int64)
    gaps = -(-rest // (config.size - config.shared_pixels))
    return np.arange(gaps + 1) * rest // gaps


def tile_dataset(index: DatasetIndex, config: TrainTilesConfig, keep_empty: bool = True) -> DatasetIndex:
    """Return the data set whose images are the tiles of an index's images.

    Boxes are clipped to their tile; those that keep less than a quarter of their area in it are no part of it. With
    `config.whole` each image with objects longer than the overlap, which may be whole in no tile, is an image too, and
    these objects are its only targets. Of the tiles without targets, as many as `config.empty` says are kept, none
    without `keep_empty`.
    """
    parts = [_image_tiles(index, i, config) for i in range(len(index))]
    source, tiles, counts, rows, boxes, crowd = (np.concatenate(column) for column in zip(*parts))
    tiled = replace(
        index.select(source),
        sizes=np.stack([tiles[:, 3] - tiles[:, 1], tiles[:, 2] - tiles[:, 0]], axis=1).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes=boxes,
        labels=index.labels[rows],
        crowd=crowd,
        areas=(boxes[:, 2:] - boxes[:, :2]).prod(axis=1),
        windows=Windows(tiles[:, 1::-1].astype(np.int32), index.sizes[source]),
    )
    owner = np.repeat(np.arange(len(tiled)), counts)
    empty = np.bincount(owner[~crowd], minlength=len(tiled)) == 0
    wanted = round(config.empty * int((~empty).sum())) if keep_empty else 0
    drawn = np.random.default_rng(_SEED).permutation(np.flatnonzero(empty))[:wanted]
    return tiled.select(np.sort(np.concatenate([np.flatnonzero(~empty), drawn])))


def _image_tiles(index: DatasetIndex, i: int, config: TrainTilesConfig) -> tuple[npt.NDArray[np.generic], ...]:
    """Return the tiles of image `i` and what is in them.

    The image's position (T,); tiles (T, 4); number of objects of each (T,); their rows in the index (M,), boxes (M, 4)
    in the tile's pixels, and whether each is no target (M,).
    """
    height, width = index.sizes[i].tolist()
    first, last = index.offsets[i : i + 2].tolist()
    boxes, crowd = index.boxes[first:last], index.crowd[first:last]
    tiles = tile_boxes(height, width, config)
    corners = np.tile(tiles[:, None, :2], 2).astype(np.float32)
    limits = np.tile(tiles[:, None, 2:] - tiles[:, None, :2], 2).astype(np.float32)
    clipped = np.clip(boxes - corners, 0, limits)  # (T, n, 4)
    sides, whole = clipped[..., 2:] - clipped[..., :2], boxes[:, 2:] - boxes[:, :2]
    seen = (sides.prod(2) >= _LEAST_VISIBLE * whole.prod(1)) & (sides >= np.minimum(whole, 1)).all(2)
    tile, row = np.nonzero(seen)
    counts, found, found_crowd = np.bincount(tile, minlength=len(tiles)), clipped[tile, row], crowd[row]
    long = ~crowd & (whole.max(1, initial=0) > config.shared_pixels)
    if config.whole and len(tiles) > 1 and long.any():
        tiles = np.concatenate([tiles, [[0, 0, width, height]]])
        counts = np.append(counts, len(boxes))
        row = np.concatenate([row, np.arange(len(boxes))])
        found, found_crowd = np.concatenate([found, boxes]), np.concatenate([found_crowd, ~long])
    return np.full(len(tiles), i), tiles, counts, first + row, found, found_crowd
