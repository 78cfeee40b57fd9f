"""Merge the detections of several views of an image: the official code's `vote` and `soft-vote`."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import nms

from paa.core.boxes import iou

_ROUNDING = 1e-9


def merge_views(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    *,
    threshold: float = 0.66,
    soft: bool = True,
    min_score: float = 0.05,
) -> tuple[Tensor, Tensor, Tensor]:
    """Merge the boxes that agree, class by class (bbox_aug_vote.py of the official code).

    boxes (M, 4): continuous xyxy pixels of one image size; scores (M,); labels (M,): int64 from 0. The best box and all
    boxes of its class with IoU >= threshold form a cluster, then the best of the rest, and so on; each cluster becomes
    the mean of its boxes, weighted by score, with its best score. soft: the other boxes of a cluster stay too, with
    their score x (1 - IoU with the best box) where that is at least `min_score`. Returns
    boxes (R, 4), scores (R,) and labels (R,), best first.
    """
    if len(boxes) == 0:
        return boxes, scores, labels
    # float64: moving the classes apart costs no precision, and an IoU equal to the threshold compares as equal
    exact, weights = boxes.double(), scores.double()
    span = exact.max() - exact.min() + 1
    # `nms` suppresses above its threshold, not at it
    best = nms(exact + labels[:, None] * span, weights, threshold - _ROUNDING)
    taken = torch.ones_like(labels, dtype=torch.bool)
    taken[best] = False
    others = taken.nonzero()[:, 0]
    overlap = iou(exact[best, None], exact[None, others])
    overlap = torch.where(labels[best, None] == labels[others], overlap, -1.0)
    # the first best box that overlaps enough, or that of highest IoU, where rounding hides the one that nms found
    owner = torch.where(overlap >= threshold, 2.0, overlap).argmax(0)

    mass = weights[best].index_add(0, owner, weights[others])
    total = (weights[best, None] * exact[best]).index_add(0, owner, weights[others, None] * exact[others])
    mean = torch.where(mass[:, None] > 0, total / mass[:, None], exact[best])
    merged, merged_scores, merged_labels = mean.to(boxes.dtype), scores[best], labels[best]
    if soft:
        lowered = (weights[others] * (1 - overlap.gather(0, owner[None])[0])).to(scores.dtype)
        kept = lowered >= min_score
        merged = torch.cat([merged, boxes[others[kept]]])
        merged_scores = torch.cat([merged_scores, lowered[kept]])
        merged_labels = torch.cat([merged_labels, labels[others[kept]]])
    order = merged_scores.argsort(descending=True, stable=True)
    return merged[order], merged_scores[order], merged_labels[order]
