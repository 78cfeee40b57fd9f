"""What a trained detector finds with parts of its score left out, or replaced by the truth: one pass for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from paa.config import InferenceConfig, LoadingConfig
from paa.core.boxes import clip, decode, iou
from paa.core.outputs import HeadOutputs
from paa.core.postprocess import DetectedBatch, detect
from paa.data.batch import Batch
from paa.data.index import DatasetIndex
from paa.data.loader import eval_loader
from paa.evaluation.metrics import evaluate
from paa.inference.dataset import without_unread
from paa.inference.detect import resize_for, to_original
from paa.inference.table import DetectionTable
from paa.model.detector import Detector
from paa.runtime.distributed import Process

Score = Literal["joint", "class", "true IoU", "truth"]
_CERTAIN = 20.0
"""A logit whose probability is 1 in float32 but for 2e-9."""
_LEAST = 1e-6
_OBJECTS = 64
"""Objects of an image that are compared with all anchors at a time, which bounds the memory."""


@dataclass(frozen=True)
class Variant:
    """How detections are scored, and whether score voting moves them (paper, §3.3 and §3.4).

    score: the root of the class probability times an IoU, and that IoU is what the detector predicts ("joint"), 1
    ("class"), or the highest true IoU of the predicted box with an object of the image ("true IoU"). "truth": the root
    of the highest true IoU with an object of the class, without the class probability: the upper bound of what the
    predicted boxes allow if they are told apart and ranked without a mistake.
    """

    score: Score
    voting: bool


VARIANTS: dict[str, Variant] = {
    "as trained": Variant("joint", True),
    "no voting": Variant("joint", False),
    "no IoU prediction": Variant("class", True),
    "neither": Variant("class", False),
    "true IoU": Variant("true IoU", True),
    "truth": Variant("truth", True),
}
"""What every trained detector is evaluated as, by name; the first is the detector as it is."""

Numbers = dict[str, float | None]


@torch.inference_mode()
def evaluate_variants(
    detector: Detector,
    index: DatasetIndex,
    process: Process,
    loading: LoadingConfig,
    config: InferenceConfig = InferenceConfig(),
) -> tuple[dict[str, Numbers], int]:
    """Return COCO's twelve numbers (0..1) of each of `VARIANTS`, in float32, and the number of images.

    index: its labels are the detector's. An image that cannot be read and is skipped (`loading.skip_bad`) is not
    evaluated.
    """
    tables: dict[str, list[DetectionTable]] = {name: [] for name in VARIANTS}
    loader = eval_loader(index, resize_for(detector, config), process, loading)
    for batch in loader:
        moved = batch.to(process.device)
        outputs = detector(moved.images, moved.sizes)
        anchors = detector.anchors(outputs)
        for name, variant in VARIANTS.items():
            scored = _scored(variant.score, outputs, anchors, moved, detector.config.legacy)
            found = detect(
                scored,
                anchors,
                moved.sizes,
                voting=variant.voting,
                threshold=config.effective_candidate_threshold,
                threshold_joint=detector.config.threshold_joint,
                nms_iou=config.nms_iou,
                limit=config.max_detections,
                legacy=detector.config.legacy,
            )
            tables[name].append(_table(found, batch, detector.config.legacy))
    unread = sorted(loader.left_out_positions)
    numbers = {}
    for name, parts in tables.items():
        read, table = without_unread(index, DetectionTable.concatenate(parts), unread)
        numbers[name] = evaluate(read, table).metrics.summary
    return numbers, len(index) - len(unread)


def _scored(score: Score, outputs: HeadOutputs, anchors: Tensor, batch: Batch, legacy: bool) -> HeadOutputs:
    """Return the outputs with the logits that a score is made of."""
    if score == "joint":
        return outputs
    certain = torch.full_like(outputs.iou_logits, _CERTAIN)
    if score == "class":
        return outputs._replace(iou_logits=certain)
    boxes = clip(decode(outputs.deltas.float(), anchors), batch.sizes[:, None], legacy)
    by_class = torch.zeros_like(outputs.cls_logits)
    for own, labels in zip(batch.gt_boxes.split(_OBJECTS, 1), batch.gt_labels.split(_OBJECTS, 1)):
        overlap = iou(boxes[:, :, None], own[:, None])  # (B, N, objects)
        overlap = torch.where((labels >= 0)[:, None], overlap, 0.0)
        by_class.scatter_reduce_(2, labels.clamp(min=0)[:, None].expand_as(overlap), overlap, "amax")
    if score == "true IoU":
        return outputs._replace(iou_logits=_logit(by_class.amax(2)))
    return outputs._replace(cls_logits=_logit(by_class), iou_logits=certain)


def _logit(probability: Tensor) -> Tensor:
    return probability.clamp(_LEAST, 1 - _LEAST).logit()


def _table(found: DetectedBatch, batch: Batch, legacy: bool) -> DetectionTable:
    """Return the detections of a batch in the pixels of the original images."""
    boxes, scores, labels = (column.cpu() for column in found)
    boxes = to_original(boxes, batch.sizes, batch.original_sizes, legacy)
    return DetectionTable.from_batch(
        batch.positions, DetectedBatch(clip(boxes, batch.original_sizes[:, None]), scores, labels)
    )
