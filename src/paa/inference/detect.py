"""From a batch of images to detections in the pixels of the originals: the one function that all inference uses."""

from __future__ import annotations

import torch
from torch import Tensor

from paa.config import InferenceConfig
from paa.core.boxes import clip
from paa.core.postprocess import DetectedBatch
from paa.data.transforms import Resize, stretch
from paa.errors import RunError
from paa.inference.multi_scale import detect_multi_scale
from paa.inference.tiles import detect_tiles
from paa.model.detector import Detector
from paa.runtime.out_of_memory import is_out_of_memory, out_of_memory_line


def resize_for(detector: Detector, config: InferenceConfig) -> Resize:
    """Return how images are resized before `detect_batch`: not at all where `views` or `tiles` of `config`, or the
    detector, do that."""
    model = detector.config
    whole = config.views is None and config.tiles is None and not detector.resizes
    return Resize(model.min_size if whole else None, model.max_size, model.legacy)


@torch.inference_mode()
def detect_batch(
    detector: Detector, images: Tensor, sizes: Tensor, original_sizes: Tensor, config: InferenceConfig
) -> DetectedBatch:
    """Return the detections of a batch, on the CPU, in the pixels of the original images and clipped to them.

    images (B, 3, H, W): uint8 RGB, each at the top left, resized by `resize_for`. sizes (B, 2), original_sizes (B, 2):
    (height, width) of each in the batch, and before it was resized. The tensors may be on any device; the detector's
    device does the work. RunError where that has no memory for the batch.
    """
    device = detector.mean.device
    try:
        found = _detect(detector, images, sizes, config)
        boxes, scores, labels = (column.cpu() for column in found)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        said = out_of_memory_line(device, len(images), (images.shape[2], images.shape[3]))
        raise RunError(
            f"{said}; what helps: a smaller --batch-size (of validation --val-batch-size), or for large images --tiles"
        ) from error
    originals = original_sizes.cpu()
    boxes = to_original(boxes, sizes.cpu(), originals, detector.config.legacy)
    labels = torch.where(scores >= config.threshold, labels, -1)
    return DetectedBatch(clip(boxes, originals[:, None]), scores, labels)


def _detect(detector: Detector, images: Tensor, sizes: Tensor, config: InferenceConfig) -> DetectedBatch:
    """Return the detections of a batch on the detector's device, in the pixels of the batch."""
    device = detector.mean.device
    moved = images.to(device, non_blocking=True), sizes.to(device, non_blocking=True)
    if config.tiles is not None:
        return detect_tiles(detector, *moved, config)
    if config.views is not None:
        return detect_multi_scale(detector, *moved, config)
    return detector.detect(*moved, config)


def to_original(boxes: Tensor, sizes: Tensor, original_sizes: Tensor, legacy: bool) -> Tensor:
    """Return boxes (B, K, 4) of images resized to sizes (B, 2) in the pixels of their originals.

    legacy: scale the inclusive coordinates, as the seed does; boxes may then reach up to a pixel outside the image.
    """
    return stretch(boxes, (original_sizes / sizes).flip(1)[:, None].to(boxes.dtype), legacy)
