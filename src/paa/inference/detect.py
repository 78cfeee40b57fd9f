"""The one way from a batch of images to the detections in the pixels of their originals."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from paa.config import InferenceConfig
from paa.core.boxes import clip
from paa.core.postprocess import DetectedBatch
from paa.data.transforms import stretch
from paa.errors import ConfigError
from paa.inference.multi_scale import check_views, detect_multi_scale
from paa.model.detector import Detector


def check_inference(config: InferenceConfig) -> None:
    """Raise ConfigError for a setting of inference with an invalid value."""
    rules: tuple[tuple[str, object, str, bool], ...] = (
        ("candidate_threshold", config.candidate_threshold, "from 0 to 1", 0 <= config.candidate_threshold <= 1),
        ("nms_iou", config.nms_iou, "from 0 to 1", 0 <= config.nms_iou <= 1),
        ("max_detections", config.max_detections, "at least 1", config.max_detections >= 1),
    )
    for name, given, expected, good in rules:
        if not good:
            raise ConfigError(f"{name} must be {expected}, got {given}")
    if config.views is not None:
        check_views(config.views)


def make_inference(threshold: float, candidate_threshold: float | None, **others: Any) -> InferenceConfig:
    """Return the settings under which detections of score `threshold` and more are found; `others`: further fields.

    candidate_threshold: None is the default, or a threshold between 0 and that: a threshold that is asked for would
    otherwise silently leave out what never became a candidate. ConfigError for an invalid value.
    """
    if not 0 <= threshold <= 1:
        raise ConfigError(f"the threshold must be from 0 to 1, got {threshold}")
    if candidate_threshold is None:
        default = InferenceConfig.candidate_threshold
        candidate_threshold = min(default, threshold) if threshold else default
    config = InferenceConfig(candidate_threshold=candidate_threshold, **others)
    check_inference(config)
    return config


@torch.inference_mode()
def detect_batch(
    detector: Detector,
    images: Tensor,
    sizes: Tensor,
    original_sizes: Tensor,
    config: InferenceConfig,
    precision: str = "float32",
) -> DetectedBatch:
    """Return the detections of a batch, on the CPU, in the pixels of the original images and clipped to them.

    images (B, 3, H, W): uint8 RGB on the detector's device, each at the top left, resized as the detector expects; with
    `config.views`, of their original size. sizes (B, 2), original_sizes (B, 2): (height, width) of each in the batch,
    and before it was resized. precision: "bfloat16" runs the network under autocast.
    """
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        if config.views is None:
            found = detector.detect(
                images,
                sizes,
                voting=config.voting,
                threshold=config.candidate_threshold,
                nms_iou=config.nms_iou,
                limit=config.max_detections,
            )
        else:
            found = detect_multi_scale(detector, images, sizes, config, config.views)
    boxes, scores, labels = (column.cpu() for column in found)
    originals = original_sizes.cpu()
    boxes = to_original(boxes, sizes.cpu(), originals, detector.config.legacy)
    return DetectedBatch(clip(boxes, originals[:, None]), scores, labels)


def to_original(boxes: Tensor, sizes: Tensor, original_sizes: Tensor, legacy: bool) -> Tensor:
    """Return boxes (B, K, 4) of images resized to sizes (B, 2) in the pixels of their originals.

    legacy: the inclusive coordinates are scaled, as the seed does, which may end up to a pixel outside.
    """
    return stretch(boxes, (original_sizes / sizes).flip(1)[:, None].to(boxes.dtype), legacy)
