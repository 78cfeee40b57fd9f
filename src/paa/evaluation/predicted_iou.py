"""Whether the IoU that the detector predicts for its boxes is the IoU that they have (paper, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paa.config import InferenceConfig, LoadingConfig
from paa.core.boxes import clip, decode, iou
from paa.core.suppression import suppress
from paa.data.batch import Batch
from paa.data.index import DatasetIndex
from paa.data.loader import eval_loader
from paa.inference.detect import resize_for
from paa.model.detector import Detector, autocast
from paa.runtime.distributed import Process

_IMAGES = 100
_CANDIDATES = 1000  # best of an image
_LEAST = 0.1  # IoU from which a box is on an object, as in the paper's matching
_BINS = 10


@dataclass(frozen=True)
class IouBin:
    """The boxes with predicted IoUs from low to high: how many, and their mean predicted and true IoU."""

    low: float
    high: float
    count: int
    predicted: float
    true: float


@dataclass(frozen=True)
class PredictedIou:
    """How predicted IoUs compare with true ones.

    images: that were looked at. error: mean absolute difference. correlation: of Pearson, None where either never
    varies. bins: ten, some of them without boxes.
    """

    images: int
    error: float
    correlation: float | None
    bins: tuple[IouBin, ...]


def predicted_iou(
    detector: Detector,
    index: DatasetIndex,
    device: torch.device,
    inference: InferenceConfig = InferenceConfig(),
    loading: LoadingConfig = LoadingConfig(),
    images: int = _IMAGES,
) -> PredictedIou | None:
    """Return how predicted IoUs compare with true ones; None where no box is on an object, and for tiles.

    index: its labels are the detector's; at most `images` of its images, evenly spread, are looked at, at the
    detector's size, also where multi-scale testing has further sizes. Tiles show objects in another size than whole
    images, and each box is only in some of them. The boxes are those that NMS keeps, before score voting moves them,
    which are on an object of their class (IoU at least 0.1): of a box on nothing there is no IoU to predict.
    """
    if inference.tiles is not None:
        return None
    sample = np.unique(np.linspace(0, len(index) - 1, min(images, len(index))).astype(np.int64))
    one_view = replace(inference, views=None)
    loader = eval_loader(index.select(sample), resize_for(detector, one_view), Process(device), loading)
    pairs = [_compare(detector, batch.to(device), one_view) for batch in loader]
    predicted, true = (np.concatenate(values) for values in zip(*pairs))
    if not len(true):
        return None
    varies = predicted.std() > 0 and true.std() > 0
    correlation = float(np.corrcoef(predicted, true)[0, 1]) if varies else None
    return PredictedIou(len(sample), float(np.abs(predicted - true).mean()), correlation, _bins(predicted, true))


@torch.inference_mode()
def _compare(
    detector: Detector, batch: Batch, config: InferenceConfig
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the predicted and the true IoU (n,) of each box of a batch that is on an object."""
    with autocast(config.precision, batch.images.device):
        outputs = detector(batch.images, batch.sizes)
    classes, ious = outputs.cls_logits.float().sigmoid(), outputs.iou_logits.float().sigmoid()
    legacy = detector.config.legacy
    boxes = clip(decode(outputs.deltas.float(), detector.anchors(outputs)), batch.sizes[:, None], legacy)
    predicted, true = [], []
    for b in range(len(batch)):
        anchors, labels = _kept(classes[b], ious[b], boxes[b], config, detector.config.threshold_joint)
        same = labels[:, None] == batch.gt_labels[b]
        overlap = torch.where(same, iou(boxes[b, anchors][:, None], batch.gt_boxes[b]), 0.0).amax(1)
        on_object = overlap >= _LEAST
        predicted.append(ious[b, anchors][on_object].cpu().double().numpy())
        true.append(overlap[on_object].cpu().double().numpy())
    return np.concatenate(predicted), np.concatenate(true)


def _kept(classes: Tensor, ious: Tensor, boxes: Tensor, config: InferenceConfig, joint: bool) -> tuple[Tensor, Tensor]:
    """Return the anchors (k,) and labels (k,) of the boxes of one image that NMS keeps.

    classes (N, C): probabilities; ious (N,): predicted; boxes (N, 4). joint: see `ModelConfig.threshold_joint`.
    """
    scores = (classes * ious[:, None]).sqrt()
    above = (scores if joint else classes) > config.effective_candidate_threshold
    scores = torch.where(above, scores, 0.0).flatten()
    best, position = scores.topk(min(_CANDIDATES, len(scores)))
    anchors, labels = position // classes.shape[1], torch.where(best > 0, position % classes.shape[1], -1)
    kept = suppress(boxes[anchors][None], labels[None], config.nms_iou, config.max_detections)[0]
    kept = kept[kept >= 0]
    return anchors[kept], labels[kept]


def _bins(predicted: npt.NDArray[np.float64], true: npt.NDArray[np.float64]) -> tuple[IouBin, ...]:
    place = np.minimum((predicted * _BINS).astype(np.int64), _BINS - 1)
    bins = []
    for i in range(_BINS):
        inside = place == i
        count = int(inside.sum())
        means = (float(predicted[inside].mean()), float(true[inside].mean())) if count else (0.0, 0.0)
        bins.append(IouBin(i / _BINS, (i + 1) / _BINS, count, *means))
    return tuple(bins)
