"""Multi-scale testing: detect in an image at many sizes and mirrored, and merge what is found."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from paa.config import InferenceConfig, MultiScaleConfig
from paa.core.boxes import area
from paa.core.merging import merge_views
from paa.core.postprocess import DetectedBatch
from paa.data.batch import padded_size
from paa.data.transforms import hflip, resize, resized_size, scale_boxes
from paa.errors import ConfigError
from paa.model.detector import PADDING, Detector

_VIEW_LIMIT = 100  # detections of each view, in the official code


def check_views(views: MultiScaleConfig) -> None:
    """Raise ConfigError for a setting of the views with an invalid value."""
    scales, windows = views.scales, views.windows
    rules: tuple[tuple[str, object, str, bool], ...] = (
        ("scales", scales, "at least 1", all(short >= 1 for short in scales)),
        ("windows", windows, f"one pair for each of the {len(scales)} views.scales", len(windows) == len(scales)),
        ("windows", windows, "at least 0, the lower first", all(0 <= low < high for low, high in windows)),
        ("max_size", views.max_size, "at least 1", views.max_size >= 1),
        ("merge", views.merge, "vote or soft-vote", views.merge in ("vote", "soft-vote")),
        ("iou", views.iou, "above 0 and at most 1", 0 < views.iou <= 1),
    )
    for name, given, expected, good in rules:
        if not good:
            raise ConfigError(f"views.{name} must be {expected}, got {given}")


@torch.inference_mode()
def detect_multi_scale(
    detector: Detector,
    images: Tensor,
    sizes: Tensor,
    inference: InferenceConfig,
    views: MultiScaleConfig,
) -> DetectedBatch:
    """Return the detections of images of their original size, as `Detector.detect` does of resized ones.

    images (B, 3, H, W): uint8 RGB, each image at the top left; sizes (B, 2): (height, width) of each. The result is
    in the pixels of `images`. Every view gives its best 100, or more where more are asked for (a view and its mirror
    image are one batch); what is merged of them gives the best `inference.max_detections`.
    """
    limit = inference.max_detections
    found = DetectedBatch(
        torch.zeros((len(images), limit, 4), device=images.device),
        torch.zeros((len(images), limit), device=images.device),
        torch.full((len(images), limit), -1, device=images.device),
    )
    for b, (height, width) in enumerate(sizes.tolist()):
        image = images[b, :, :height, :width]
        for column, values in zip(found, _detect_image(detector, image, inference, views)):
            column[b, : len(values)] = values[:limit]
    return found


def _detect_image(
    detector: Detector, image: Tensor, inference: InferenceConfig, views: MultiScaleConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the merged boxes (n, 4), scores (n,) and labels (n,) of one image (3, h, w), in its pixels."""
    model, size = detector.config, (image.shape[1], image.shape[2])
    frame = resized_size(*size, model.min_size, model.max_size)
    ways = [(frame, (0.0, math.inf))]  # the ordinary view, of which all sizes count
    for short, window in zip(views.scales, views.windows):
        # only the views that are larger than the ordinary one need the larger cap
        max_size = model.max_size if short < model.min_size else views.max_size
        ways.append((resized_size(*size, short, max_size), window))
    found = []
    for way, (low, high) in ways:
        boxes, scores, labels = _detect_view(detector, image, way, views.mirror, inference)
        kept = (area(boxes) > low**2) & (area(boxes) < high**2)
        found.append((scale_boxes(boxes[kept], way, frame, model.legacy), scores[kept], labels[kept]))
    boxes, scores, labels = (torch.cat(column) for column in zip(*found))
    boxes, scores, labels = merge_views(
        boxes,
        scores,
        labels,
        threshold=views.iou,
        soft=views.merge == "soft-vote",
        least=inference.candidate_threshold,
    )
    return scale_boxes(boxes, frame, size, model.legacy), scores, labels


def _detect_view(
    detector: Detector, image: Tensor, size: tuple[int, int], mirror: bool, inference: InferenceConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes (n, 4), scores (n,) and labels (n,) of an image resized to (height, width) `size`, in its pixels.

    mirror: of its mirror image too, in one batch, the boxes mirrored back.
    """
    nothing = torch.zeros((0, 4), device=image.device)
    view, _ = resize(image, nothing, size, detector.config.legacy)
    batch = torch.stack([view, hflip(view, nothing)[0]] if mirror else [view])
    height, width = padded_size([size], PADDING)
    batch = pad(batch, (0, width - size[1], 0, height - size[0]))
    sizes = torch.tensor([size] * len(batch), device=image.device)
    boxes, scores, labels = detector.detect(
        batch,
        sizes,
        voting=inference.voting,
        threshold=inference.candidate_threshold,
        nms_iou=inference.nms_iou,
        limit=max(_VIEW_LIMIT, inference.max_detections),
    )
    if mirror:
        boxes = torch.stack([boxes[0], hflip(view, boxes[1])[1]])
    there = labels >= 0
    return boxes[there], scores[there], labels[there]
