"""From head outputs to detections (paper, §3.3 and §3.4): joint score, the best of each level, NMS, score voting."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import nms

from paa.anchors import level_of
from paa.boxes import area, clip, decode, iou
from paa.grouping import best_per_group
from paa.outputs import HeadOutputs

VOTING_IOU = 0.01


class DetectedBatch(NamedTuple):
    """The K best boxes of each of B pictures, best first.

    boxes (B, K, 4): continuous xyxy pixels of the batch; scores (B, K); labels (B, K): int64, -1 where there are fewer.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def score_voting(kept: Tensor, candidates: Tensor, scores: Tensor, sigma: float = 0.025) -> Tensor:
    """Move each kept box to the weighted mean of the candidates that agree with it (paper, §3.4).

    kept (K, 4), candidates (K, M, 4): the boxes of the same picture and class for each kept one, continuous xyxy
    pixels. scores (K, M): theirs, 0 where there is none. A candidate of IoU > 0.01 weighs
    score x exp(-(1 - IoU)^2 / sigma). Returns (K, 4); a box that no candidate overlaps stays where it is.
    """
    overlap = iou(kept[:, None], candidates)
    weights = torch.where(overlap > VOTING_IOU, scores * torch.exp(-(1 - overlap).square() / sigma), 0.0)
    mass = weights.sum(1)
    # no matrix product: autocast would round the boxes to bfloat16
    mean = (weights[..., None] * candidates).sum(1) / mass.clamp(min=torch.finfo(mass.dtype).tiny)[:, None]
    return torch.where(mass[:, None] > 0, mean, kept)


@torch.inference_mode()
def detect(
    outputs: HeadOutputs,
    anchors: Tensor,
    sizes: Tensor,
    *,
    voting: bool = True,
    threshold: float = 0.05,
    threshold_joint: bool = False,
    nms_iou: float = 0.6,
    limit: int = 100,
    per_level: int = 1000,
) -> DetectedBatch:
    """Return the detections of a batch.

    anchors (N, 4); sizes (B, 2): (height, width) to which each picture's boxes are cut. The score of an (anchor, class)
    is sqrt(class probability x predicted IoU); candidates have a class probability (with `threshold_joint`, as in
    MMDetection, a score) above `threshold`; each level gives its `per_level` best; NMS per class at `nms_iou`; the best
    `limit` of each picture. voting: move the boxes by `score_voting`.
    """
    b, _, c = outputs.cls_logits.shape
    picture, anchor, label, score = _above_threshold(outputs, threshold, threshold_joint)
    boxes = clip(decode(outputs.deltas[picture, anchor].float(), anchors[anchor]), sizes[picture])
    levels = len(outputs.level_sizes)
    level = level_of(anchor, outputs.level_starts())
    # what lies wholly outside its picture is in no group
    level_group = torch.where(area(boxes) > 0, picture * levels + level, b * levels)
    best, valid = best_per_group(level_group, score, b * levels, min(per_level, max(len(score), 1)), largest=True)
    best = best[valid]
    picture, label, score, boxes = picture[best], label[best], score[best], boxes[best]

    group = picture * c + label
    best = _suppress(boxes, score, picture, group, b, nms_iou, limit)
    valid = best >= 0
    best = best[valid]
    result = DetectedBatch(
        boxes.new_zeros(b, limit, 4),
        score.new_zeros(b, limit),
        torch.full((b, limit), -1, dtype=torch.int64, device=boxes.device),
    )
    result.scores[valid], result.labels[valid] = score[best], label[best]
    voted = _vote(boxes, score, group, best, b * c) if voting and len(best) else boxes[best]
    result.boxes[valid] = clip(voted, sizes[picture[best]])  # a mean is inside but for its rounding
    return result


def _above_threshold(outputs: HeadOutputs, threshold: float, joint: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return picture, anchor, label and score (M,) of the candidates."""
    logits, iou_logits = outputs.cls_logits, outputs.iou_logits
    # The joint score is at most sqrt(p), so p > threshold^2 holds for all that a joint threshold lets through.
    least = threshold**2 if joint else threshold
    bound = math.log(least / (1 - least)) if 0 < least < 1 else math.copysign(math.inf, least - 0.5)
    # few anchors have any class at all; in half precision the bound itself would be rounded
    picture, anchor = (logits.amax(2).float() > bound).nonzero(as_tuple=True)
    row, label = (logits[picture, anchor].float() > bound).nonzero(as_tuple=True)
    picture, anchor = picture[row], anchor[row]
    probability = logits[picture, anchor, label].float().sigmoid()
    score = (probability * iou_logits[picture, anchor].float().sigmoid()).sqrt()
    keep = score > threshold if joint else probability > threshold
    return picture[keep], anchor[keep], label[keep], score[keep]


def _suppress(
    boxes: Tensor, score: Tensor, picture: Tensor, group: Tensor, num_pictures: int, nms_iou: float, limit: int
) -> Tensor:
    """Return the `limit` best candidates of each picture that NMS within their groups leaves: (B, limit), -1 for none.

    What NMS keeps does not hang on lower scores, so the best few hundred of each picture almost always decide.
    """
    # Boxes of different groups are moved apart, in float64 so that the move costs no precision: one NMS for all.
    apart = boxes.double()
    apart += group[:, None] * (apart.max() + 1 if len(boxes) else 0)
    score64 = score.double()
    for most in (4 * limit, max(len(boxes), 1)):
        first, valid = best_per_group(picture, score, num_pictures, min(most, max(len(boxes), 1)), largest=True)
        first = first[valid]
        kept = first[nms(apart[first], score64[first], nms_iou)]
        best, found = best_per_group(picture[kept], score[kept], num_pictures, limit, largest=True)
        if len(first) == len(boxes) or bool(found.all()):
            break
    return torch.where(found, kept[best], -1) if len(kept) else best - 1


def _vote(boxes: Tensor, scores: Tensor, group: Tensor, kept: Tensor, num_groups: int) -> Tensor:
    """Lay the candidates of each kept box's group out as a table, and vote."""
    ordered, members = group.sort()
    bounds = torch.searchsorted(ordered, torch.arange(num_groups + 1, device=group.device))
    first, last = bounds[group[kept]], bounds[group[kept] + 1]
    table = first[:, None] + torch.arange(int((last - first).max()), device=group.device)
    inside = table < last[:, None]
    table = members[table.clamp(max=len(members) - 1)]
    return score_voting(boxes[kept], boxes[table], torch.where(inside, scores[table], 0.0))
