"""From head outputs to detections, as `paa.core.detect` computes them, in operations that an exported graph can hold.

Nothing here depends on values in Python: no loop over images or classes, no copy to the host. The core's own functions
are made for speed in PyTorch, with shapes that depend on the candidates found (on CPUs) or on Triton's kernels.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from paa.core import DetectedBatch, HeadOutputs, score_voting
from paa.core.boxes import area, clip, decode
from paa.export.suppression import suppress


def detect(
    outputs: HeadOutputs,
    anchors: Tensor,
    sizes: Tensor,
    *,
    voting: bool,
    threshold: float,
    threshold_joint: bool,
    nms_iou: float,
    limit: int,
    per_level: int = 1000,
    legacy: bool,
) -> DetectedBatch:
    """Return the detections of a batch; arguments and result are those of `paa.core.detect`."""
    boxes, scores, labels = _candidates(outputs, anchors, sizes, threshold, threshold_joint, per_level, limit, legacy)
    classes = outputs.cls_logits.shape[2]
    kept = suppress(boxes, scores, labels, classes, nms_iou, limit)
    # candidates are in order of score, so the best of those kept are the first
    rank = torch.where(kept, torch.arange(scores.shape[1], 0, -1, device=scores.device), 0)
    best, place = rank.topk(limit, dim=1)
    valid = best > 0
    result, result_labels = _take(boxes, place), torch.where(valid, labels.gather(1, place), -1)
    if voting:
        same = result_labels[..., None] == labels[:, None]
        voted = score_voting(result, boxes[:, None], torch.where(same, scores[:, None], 0.0))
        result = clip(voted, sizes[:, None], legacy)
    return DetectedBatch(
        torch.where(valid[..., None], result, 0.0), torch.where(valid, scores.gather(1, place), 0.0), result_labels
    )


def _candidates(
    outputs: HeadOutputs,
    anchors: Tensor,
    sizes: Tensor,
    threshold: float,
    joint: bool,
    per_level: int,
    limit: int,
    legacy: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the candidates of each image, best first: boxes (B, M, 4), scores (B, M), labels (B, M).

    M is the number of candidates of the image that has most, or `limit` if that is more. The slots after an image's
    last candidate have score 0 and label -1.
    """
    classes = outputs.cls_logits.shape[2]
    boxes = clip(decode(outputs.deltas, anchors), sizes[:, None], legacy)
    # the best k pairs of (anchor, class) are pairs of the k anchors whose best class scores highest
    highest = _score(outputs.cls_logits.amax(2), outputs.iou_logits, threshold, joint)
    highest = torch.where(area(boxes) > 0, highest, 0.0)
    starts = outputs.level_starts()
    chosen_boxes, chosen_scores, chosen_labels = [], [], []
    for start, end in pairwise(starts):
        level = slice(start, end)
        best = highest[:, level].topk(torch.sym_min(per_level, end - start), dim=1).indices
        best = best.sort(1).values  # in the order of anchors, which decides between equal scores
        score = _score(
            _take(outputs.cls_logits[:, level], best),
            outputs.iou_logits[:, level].gather(1, best)[..., None],
            threshold,
            joint,
        )
        score = torch.where(highest[:, level].gather(1, best)[..., None] > 0, score, 0.0).flatten(1)
        score, pair = score.topk(torch.sym_min(per_level, score.shape[1]), dim=1)
        chosen_boxes.append(_take(boxes[:, level], best.gather(1, pair // classes)))
        chosen_scores.append(score)
        chosen_labels.append(torch.where(score > 0, pair % classes, -1))
    empty = torch.zeros_like(highest[:, :1]).expand(-1, limit)  # so that there are at least `limit` slots
    scores = torch.cat([*chosen_scores, empty], 1)
    labels = torch.cat([*chosen_labels, empty.long() - 1], 1)
    boxes = torch.cat([*chosen_boxes, empty[..., None].expand(-1, -1, 4)], 1)
    # not `sort`, whose stable form torch's exporter lacks; ONNX's TopK leaves equal values in their order
    scores, order = scores.topk(scores.shape[1], dim=1)
    most = (scores > 0).sum(1).amax(0).clamp(min=limit).item()
    torch._check(most >= limit)
    torch._check(most <= scores.shape[1])
    order = order[:, :most]
    return _take(boxes, order), scores[:, :most], labels.gather(1, order)


def _score(cls_logits: Tensor, iou_logits: Tensor, threshold: float, joint: bool) -> Tensor:
    """Return sqrt(class probability x predicted IoU), 0 if not above the threshold."""
    probability = cls_logits.sigmoid()
    score = (probability * iou_logits.sigmoid()).sqrt()
    return torch.where((score if joint else probability) > threshold, score, 0.0)


def _take(rows: Tensor, positions: Tensor) -> Tensor:
    """Return of each image the rows (B, N, D) at the positions (B, K): (B, K, D)."""
    return rows.gather(1, positions[..., None].expand(-1, -1, rows.shape[2]))
