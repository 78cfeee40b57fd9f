"""Multi-scale testing: detect in an image at many sizes and mirrored, and merge the detections."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from paa.config import InferenceConfig
from paa.core.boxes import area
from paa.core.merging import merge_views
from paa.core.postprocess import DetectedBatch
from paa.data.batch import padded_size
from paa.data.transforms import hflip, resize, resized_size, scale_boxes
from paa.inference.one_by_one import Found, limit_of_part, one_by_one
from paa.model.detector import PADDING, Detector

_VIEW_LIMIT = 100  # most detections of a view, in the official code


@torch.inference_mode()
def detect_multi_scale(detector: Detector, images: Tensor, sizes: Tensor, config: InferenceConfig) -> DetectedBatch:
    """Return the detections in images of their original size, as `Detector.detect` does for resized ones.

    images (B, 3, H, W): uint8 RGB, each image at the top left; sizes (B, 2): (height, width) of each. The result is
    in the pixels of `images`. Each of `config.views` gives its best 100 detections, or `config.max_detections` if that
    is more (a view and its mirror image are one batch); of the merged ones, the best `config.max_detections` are kept.
    """
    return one_by_one(lambda image: _detect_image(detector, image, config), images, sizes, config.max_detections)


def _detect_image(detector: Detector, image: Tensor, config: InferenceConfig) -> Found:
    """Return the merged boxes (n, 4), scores (n,) and labels (n,) of one image (3, h, w), in its pixels."""
    model, size, views = detector.config, (image.shape[1], image.shape[2]), config.views
    assert views is not None  # the caller asks for multi-scale testing
    frame = resized_size(*size, model.min_size, model.max_size)
    view_sizes = [(frame, (0.0, math.inf))]  # the ordinary view, in which boxes of all sizes count
    for short, window in zip(views.scales, views.windows):
        # only the views that are larger than the ordinary one need the larger cap
        max_size = model.max_size if short < model.min_size else views.max_size
        view_sizes.append((resized_size(*size, short, max_size), window))
    found = []
    for view_size, (low, high) in view_sizes:
        boxes, scores, labels = _detect_view(detector, image, view_size, views.mirror, config)
        kept = (area(boxes) > low**2) & (area(boxes) < high**2)
        found.append((scale_boxes(boxes[kept], view_size, frame, model.legacy), scores[kept], labels[kept]))
    boxes, scores, labels = (torch.cat(column) for column in zip(*found))
    boxes, scores, labels = merge_views(
        boxes,
        scores,
        labels,
        threshold=views.iou,
        soft=views.merge == "soft-vote",
        min_score=config.effective_candidate_threshold,
    )
    return scale_boxes(boxes, frame, size, model.legacy), scores, labels


def _detect_view(
    detector: Detector, image: Tensor, size: tuple[int, int], mirror: bool, config: InferenceConfig
) -> Found:
    """Return boxes (n, 4), scores (n,) and labels (n,) of an image resized to (height, width) `size`, in its pixels.

    mirror: detect in its mirror image too, in the same batch, and mirror those boxes back.
    """
    no_boxes = torch.zeros((0, 4), device=image.device)
    view, _ = resize(image, no_boxes, size, detector.config.legacy)
    batch = torch.stack([view, hflip(view, no_boxes)[0]] if mirror else [view])
    height, width = padded_size([size], PADDING)
    batch = pad(batch, (0, width - size[1], 0, height - size[0]))
    sizes = torch.tensor([size] * len(batch), device=image.device)
    limit = limit_of_part(detector.most_detections, _VIEW_LIMIT, config.max_detections)
    boxes, scores, labels = detector.detect(batch, sizes, replace(config, max_detections=limit))
    if mirror:
        boxes = torch.stack([boxes[0], hflip(view, boxes[1])[1]])
    valid = labels >= 0
    return boxes[valid], scores[valid], labels[valid]
