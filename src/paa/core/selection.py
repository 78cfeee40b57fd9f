"""From head outputs to candidates (paper, §3.3): those above the threshold, and of these the best of each level.

Two implementations of the same rules: a sparse one for CPUs, which touches little more than the few candidates, and a
dense one for accelerators, whose shapes are fixed, so that the host need not wait for the number of candidates.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from paa.core.anchors import level_of
from paa.core.boxes import area, clip, decode
from paa.core.grouping import best_per_group
from paa.core.outputs import HeadOutputs


class Candidates(NamedTuple):
    """The candidates of B images, best first; equal scores in the order of anchors, then of classes.

    boxes (B, M, 4): continuous xyxy pixels, clipped to their image; scores (B, M); labels (B, M): int64. After an
    image's last candidate the scores are 0 and the labels -1.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def select_candidates(
    outputs: HeadOutputs,
    anchors: Tensor,
    sizes: Tensor,
    threshold: float,
    joint: bool,
    per_level: int,
    legacy: bool = False,
) -> Candidates:
    """Return the `per_level` best candidates of each level, by the implementation that suits the device.

    anchors (N, 4); sizes (B, 2): (height, width) of each image. A candidate is an (anchor, class) of class
    probability (with `joint`, of score) above `threshold` whose box lies at least partly in its image; with `legacy`
    also one whose box lies outside, clipped to a pixel at the border, as the seed and the official code do.
    """
    select = _select_sparse if outputs.cls_logits.device.type == "cpu" else _select_dense
    return select(outputs, anchors, sizes, threshold, joint, per_level, legacy)


def _joint_score(cls_logits: Tensor, iou_logits: Tensor, threshold: float, joint: bool) -> Tensor:
    """Return sqrt(class probability x predicted IoU), 0 if not above the threshold. The score rises with both."""
    probability = cls_logits.float().sigmoid()
    score = (probability * iou_logits.float().sigmoid()).sqrt()
    return torch.where((score if joint else probability) > threshold, score, 0.0)


def _select_sparse(
    outputs: HeadOutputs,
    anchors: Tensor,
    sizes: Tensor,
    threshold: float,
    joint: bool,
    per_level: int,
    legacy: bool = False,
) -> Candidates:
    """Compute `select_candidates` on a CPU. M is the number of candidates of the image that has the most."""
    b, n, c = outputs.cls_logits.shape
    levels = len(outputs.level_sizes)
    logits = outputs.cls_logits.flatten()
    # The joint score is at most sqrt(p), so p > threshold^2 for every joint score above the threshold.
    least = threshold**2 if joint else threshold
    bound = math.log(least / (1 - least)) if 0 < least < 1 else math.copysign(math.inf, least - 0.5)
    # the bound a little lower, for rounding; numpy's flatnonzero takes a tenth of the time of torch's nonzero
    position = torch.from_numpy(np.flatnonzero(logits.float().numpy() > bound - 1e-3))
    row, label = position // c, position % c
    image, anchor = row // n, row % n
    # index_select takes a third of the time of an index in brackets
    iou_logit = outputs.iou_logits.flatten().index_select(0, row)
    score = _joint_score(logits.index_select(0, position), iou_logit, threshold, joint)
    deltas = outputs.deltas.flatten(0, 1).index_select(0, row).float()
    # all x1 in memory, then all y1, x2 and y2: arithmetic on pairs of neighbours takes twice the time
    decoded = decode(_by_side(deltas), _by_side(anchors.index_select(0, anchor)))
    boxes = clip(decoded, sizes.index_select(0, image), legacy)

    valid = (score > 0) & (area(boxes) > 0)
    group = torch.where(valid, image * levels + level_of(anchor, outputs.level_starts()), b * levels)
    most = max(group.bincount(minlength=b * levels + 1)[:-1].tolist(), default=0)
    best, filled = best_per_group(group, score, b * levels, min(per_level, most), largest=True)
    best, filled = best.view(b, -1), filled.view(b, -1)
    scores = torch.where(filled, score.index_select(0, best.flatten()).view(best.shape), 0.0)
    scores, order = scores.sort(dim=1, descending=True, stable=True)
    most = max(filled.sum(1).tolist(), default=0)
    scores, best = scores[:, :most], best.gather(1, order[:, :most])
    labels = torch.where(scores > 0, label.index_select(0, best.flatten()).view(best.shape), -1)
    return Candidates(boxes.index_select(0, best.flatten()).view(b, most, 4), scores, labels)


def _by_side(boxes: Tensor) -> Tensor:
    """Return the same boxes (M, 4), laid out in memory as (4, M)."""
    return boxes.t().contiguous().t()


_POSITIONS = 0xFFFFFFFF  # the lower half of a key, which holds a position


def _select_dense(
    outputs: HeadOutputs,
    anchors: Tensor,
    sizes: Tensor,
    threshold: float,
    joint: bool,
    per_level: int,
    legacy: bool = False,
) -> Candidates:
    """Compute `select_candidates` in fixed shapes, without waiting for the device.

    M is `per_level` (or all that a level has) x levels. Takes memory for per_level x C scores of each level of each
    image.
    """
    b, n, c = outputs.cls_logits.shape
    levels = len(outputs.level_sizes)
    boxes = clip(decode(outputs.deltas.float(), anchors), sizes[:, None], legacy)
    # The best k pairs of (anchor, class) are pairs of the k anchors whose best class scores highest.
    highest = _joint_score(outputs.cls_logits.amax(2), outputs.iou_logits, threshold, joint)
    valid = (highest > 0) & (area(boxes) > 0)
    image = torch.arange(b, device=boxes.device)[:, None]
    group = image * levels + level_of(torch.arange(n, device=boxes.device), outputs.level_starts())
    group = torch.where(valid, group, b * levels).flatten()
    k = min(per_level, max(rows * columns for rows, columns in outputs.level_sizes))
    best, filled = best_per_group(group, highest.flatten(), b * levels, k, largest=True)
    row = best.flatten()
    logits = outputs.cls_logits.flatten(0, 1).index_select(0, row)
    score = _joint_score(logits, outputs.iou_logits.flatten().index_select(0, row)[:, None], threshold, joint)

    # Score and position as one integer, no two alike: `topk` and `sort` promise no order of equal scores.
    bits = torch.where(filled.view(-1, 1), score, 0.0).view(torch.int32).long()
    position = (row % n * c)[:, None] + torch.arange(c, device=row.device)
    keys = torch.where(bits > 0, (bits << 32) + (_POSITIONS - position), 0).view(b * levels, k * c)
    keys = keys.topk(min(per_level, k * c)).values.view(b, -1).sort(descending=True).values
    scores = (keys >> 32).int().view(torch.float32)
    position = torch.where(keys > 0, _POSITIONS - (keys & _POSITIONS), 0)
    labels = torch.where(keys > 0, position % c, -1)
    return Candidates(boxes.gather(1, (position // c)[..., None].expand(-1, -1, 4)), scores, labels)
