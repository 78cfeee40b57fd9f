"""Detection in overlapping tiles of large images: each object is counted once, wherever it lies.

An object near a tile's border is in two tiles or four. Where it is whole in several, it is found several times: NMS and
score voting over all tiles make one box of these. Where a tile cuts it, the tile finds a part of it, which NMS would
keep: such a box is left out if another tile shows all of it that this tile shows, and more.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from paa.config import InferenceConfig
from paa.core.boxes import area
from paa.core.postprocess import DetectedBatch, suppress_and_vote
from paa.core.selection import Candidates
from paa.data.batch import collate
from paa.data.tiles import tile_boxes
from paa.data.transforms import resize, resized_size, stretch
from paa.inference.one_by_one import Found, limit_of_part, one_by_one
from paa.model.detector import PADDING, Detector

_BATCH = 8  # tiles at a time
_TILE_LIMIT = 100  # most detections of a tile, or max_detections if that is more
_MARGIN = 1 / 64  # of a tile's side: a box that ends so close to a border may go on behind it
_PAIRS_AT_ONCE = 1 << 20
_COVERED = 0.7  # share of its area from which a part of an object belongs to the box around it
_AS_SURE = 0.5  # least score of that box, as a share of the part's: a poor box must not take away a good one


@torch.inference_mode()
def detect_tiles(detector: Detector, images: Tensor, sizes: Tensor, config: InferenceConfig) -> DetectedBatch:
    """Return the detections in images of their original size, as `Detector.detect` does for resized ones.

    images (B, 3, H, W): uint8 RGB, each image at the top left; sizes (B, 2): (height, width) of each. The result is in
    the pixels of `images`. An image that is not larger than a tile is detected as without tiles.
    """
    return one_by_one(lambda image: _detect_image(detector, image, config), images, sizes, config.max_detections)


def _detect_image(detector: Detector, image: Tensor, config: InferenceConfig) -> Found:
    """Return the merged detections of one image (3, h, w), in its pixels."""
    assert config.tiles is not None  # the caller asks for tiles
    height, width = image.shape[1:]
    tiles = torch.from_numpy(tile_boxes(height, width, config.tiles)).to(image.device)
    if len(tiles) == 1:
        boxes, scores, labels, _ = _detect_parts(detector, image, tiles, config)
        return boxes, scores, labels
    limited = replace(
        config, max_detections=limit_of_part(detector.most_detections, _TILE_LIMIT, config.max_detections)
    )
    boxes, scores, labels, tile = _detect_parts(detector, image, tiles, limited)
    cut, elsewhere = borders(boxes, tiles[tile], neighbours(tiles)[tile], _MARGIN * config.tiles.size)
    found = [(boxes[~elsewhere], scores[~elsewhere], labels[~elsewhere], cut[~elsewhere])]
    if config.tiles.whole:
        frame = tiles.new_tensor([[0, 0, width, height]])
        boxes, scores, labels, _ = _detect_parts(detector, image, frame, limited)
        long = (boxes[:, 2:] - boxes[:, :2]).amax(1) > config.tiles.shared_pixels  # tiles show all others whole
        found.append((boxes[long], scores[long], labels[long], torch.zeros_like(long)[long]))
    boxes, scores, labels, cut = (torch.cat(column) for column in zip(*found))
    kept = ~(cut & covered(boxes, scores, labels, ~cut))
    order = scores.masked_fill(~kept, -1).argsort(descending=True, stable=True)[: int(kept.sum())]
    merged = suppress_and_vote(
        Candidates(boxes[order][None], scores[order][None], labels[order][None]),
        tiles.new_tensor([[height, width]]),
        voting=config.voting,
        nms_iou=config.nms_iou,
        limit=config.max_detections,
        legacy=detector.config.legacy,
    )
    valid = merged.labels[0] >= 0
    return merged.boxes[0, valid], merged.scores[0, valid], merged.labels[0, valid]


def _detect_parts(
    detector: Detector, image: Tensor, parts: Tensor, config: InferenceConfig
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Detect in parts (T, 4) of one size of an image (3, h, w), each resized as the model resizes images.

    Returns boxes (n, 4) in the image's pixels, scores (n,), labels (n,), and the part (n,) that each was found in.
    """
    model = detector.config
    width, height = (parts[0, 2:] - parts[0, :2]).tolist()
    size = resized_size(height, width, model.min_size, model.max_size)
    ratio = parts.new_tensor([width, height]) / parts.new_tensor([size[1], size[0]])
    no_boxes = torch.zeros((0, 4), device=image.device)
    found = []
    for start in range(0, len(parts), _BATCH):
        batch = parts[start : start + _BATCH]
        views = [image[:, top:bottom, left:right] for left, top, right, bottom in batch.tolist()]
        images, sizes = collate([resize(view, no_boxes, size, model.legacy)[0] for view in views], multiple=PADDING)
        boxes, scores, labels = detector.detect(images, sizes.to(image.device), config)
        boxes = stretch(boxes, ratio.to(boxes.dtype), model.legacy) + batch[:, :2].repeat(1, 2)[:, None]
        valid = labels >= 0
        found.append((boxes[valid], scores[valid], labels[valid], start + valid.nonzero()[:, 0]))
    boxes, scores, labels, part = (torch.cat(column) for column in zip(*found))
    return boxes, scores, labels, part


def neighbours(tiles: Tensor) -> Tensor:
    """Return (T, 4) where the nearest tiles to the left and above end, and those to the right and below begin.

    tiles (T, 4): of one image. Where there is no such tile: minus infinity and infinity.
    """
    found = torch.empty(tiles.shape, device=tiles.device)
    for axis in (0, 1):
        starts, ends = tiles[:, axis].double(), tiles[:, axis + 2].double()
        after = starts[None] > starts[:, None]
        found[:, axis] = torch.where(after, ends[:, None], -math.inf).amax(0)
        found[:, axis + 2] = torch.where(after, starts[None], math.inf).amin(1)
    return found


def borders(boxes: Tensor, tiles: Tensor, others: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """Return which boxes (n,) touch an inner border of their tile, and which of these another tile shows better.

    boxes (n, 4) in the image's pixels; tiles (n, 4): those that they were found in; others (n, 4): their `neighbours`.
    A box touches a border that it ends within `margin` of. The tile behind the border shows it better if it shows the
    box's other end, more than a margin away from its own border: then it shows all of the box, and what lies behind.
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    before, after = others[:, :2], others[:, 2:]
    cut_low = (low <= tiles[:, :2] + margin) & before.isfinite()
    cut_high = (high >= tiles[:, 2:] - margin) & after.isfinite()
    elsewhere = (cut_low & (high < before - margin)) | (cut_high & (low > after + margin))
    return (cut_low | cut_high).any(1), elsewhere.any(1)


def covered(boxes: Tensor, scores: Tensor, labels: Tensor, whole: Tensor) -> Tensor:
    """Return which boxes (n,) lie mostly inside another one of their class that is `whole` (n,): in no tile cut.

    A box whose score is less than half of theirs is none that they belong to.
    """
    around, classes, sure = boxes[whole], labels[whole], scores[whole]
    parts = (~whole).nonzero()[:, 0]
    inside = torch.zeros_like(whole)
    # all pairs at once would be gigabytes where a large image has thousands of detections
    for rows in parts.split(max(1, _PAIRS_AT_ONCE // max(1, len(around)))):
        part = boxes[rows][:, None]
        low = torch.maximum(part[..., :2], around[:, :2])
        high = torch.minimum(part[..., 2:], around[:, 2:])
        shared = (high - low).clamp(min=0).prod(-1)
        mostly = (shared >= _COVERED * area(part)) & (classes == labels[rows][:, None])
        mostly &= sure >= _AS_SURE * scores[rows][:, None]
        inside[rows] = mostly.any(1)
    return inside
