"""Which anchors are positive, and for which object (paper, §3.1 and §3.2): match, score, candidates, cut.

All objects of all images of the batch at once. B images, G objects at most in one, N anchors, L levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from paa.core import mixture
from paa.core.anchors import level_of
from paa.core.boxes import iou
from paa.core.grouping import best_per_group

MATCH_THRESHOLD = 0.1
PER_LEVEL = 9
PAIRS_AT_ONCE = 1 << 21


class Assignment(NamedTuple):
    """The candidates of every object, best (lowest score) first, and how many of them are positive.

    anchors (B, G, S): int64, positions along N, S = 9 x levels. scores (B, G, S): float32, inf behind the last one.
    number (B, G): of candidates. positives (B, G): number of positives, the first of each row.
    """

    anchors: Tensor
    scores: Tensor
    number: Tensor
    positives: Tensor

    def is_positive(self) -> Tensor:
        """Return (B, G, S) bool: the candidates that are positive."""
        return torch.arange(self.anchors.shape[2], device=self.anchors.device) < self.positives[..., None]

    def objects(self, num_anchors: int) -> Tensor:
        """Return (B, N) int64: the object for which each anchor is positive, -1 for background."""
        b, g, _ = self.anchors.shape
        # one column more than there are anchors takes what is not positive
        slots = torch.where(self.is_positive(), self.anchors, num_anchors).flatten(1)
        owner = torch.arange(g, device=slots.device).repeat_interleave(self.anchors.shape[2]).expand(b, -1)
        result = torch.full((b, num_anchors + 1), -1, dtype=torch.int64, device=slots.device)
        return result.scatter_(1, slots, owner)[:, :num_anchors]


@torch.library.custom_op("paa::match", mutates_args=())
def match(anchors: Tensor, gt_boxes: Tensor, gt_labels: Tensor, threshold: float = MATCH_THRESHOLD) -> Tensor:
    """Give each anchor at most one object (step 1): the one of highest IoU if that is at least `threshold`.

    The anchors that fit an object best, all that tie, take the object of *their own* highest IoU however low it is, so
    that every object has at least one chance.
    anchors (N, 4), gt_boxes (B, G, 4), gt_labels (B, G) with -1 for no object -> (B, N) int64 along G, -1 for none.
    """
    (b, g), n = gt_labels.shape, len(anchors)
    highest, owner = gt_boxes.new_full((b, n), -1.0), gt_labels.new_zeros((b, n), dtype=torch.int64)
    best_of_some = torch.zeros_like(owner, dtype=torch.bool)
    # all pairs at once would be gigabytes where an image of the batch has 1,000 objects
    step = max(1, PAIRS_AT_ONCE // max(1, b * n))
    for first in range(0, g, step):
        overlaps = iou(gt_boxes[:, first : first + step, None], anchors)
        overlaps.masked_fill_((gt_labels[:, first : first + step] < 0)[..., None], -1.0)
        best = overlaps.amax(2, keepdim=True)
        # an object that no anchor touches would tie with every anchor at 0
        best_of_some |= ((overlaps == best) & (best > 0)).any(1)
        value, place = overlaps.max(1)
        owner = torch.where(value > highest, place + first, owner)
        highest = torch.maximum(highest, value)
    return owner.masked_fill_((highest < threshold) & ~best_of_some, -1)


@match.register_fake
def _(anchors: Tensor, gt_boxes: Tensor, gt_labels: Tensor, threshold: float = MATCH_THRESHOLD) -> Tensor:
    """Tell torch.compile, to which a matching is one operator, what comes out: its loop depends on the shapes."""
    return gt_labels.new_empty((gt_labels.shape[0], anchors.shape[0]))  # len would make them constants


def candidates(
    scores: Tensor, matches: Tensor, num_objects: int, level_starts: Sequence[int], per_level: int = PER_LEVEL
) -> tuple[Tensor, Tensor, Tensor]:
    """Return each object's `per_level` matched anchors of lowest score on every level (step 3), sorted by score.

    scores (B, N): non-negative, matches (B, N) as from `match`; level_starts: where each level begins along N, then N.
    Returns anchors (B, G, S), scores (B, G, S) with inf behind the last candidate, count (B, G).
    """
    b, n = matches.shape
    levels = len(level_starts) - 1
    level = level_of(torch.arange(n, device=matches.device), level_starts)
    image = torch.arange(b, device=matches.device)[:, None]
    groups = b * num_objects * levels
    group = torch.where(matches >= 0, (image * num_objects + matches) * levels + level, groups)
    members, valid = best_per_group(group.flatten(), scores.flatten(), groups, per_level, largest=False)
    best = torch.where(valid, scores.flatten()[members], torch.inf).view(b, num_objects, levels * per_level)
    best, order = best.sort(dim=2, stable=True)
    anchors = (members % n).view(b, num_objects, levels * per_level).gather(2, order)
    return anchors, best, valid.view(b, num_objects, -1).sum(2)


@torch.no_grad()
def assign(scores: Tensor, matches: Tensor, num_objects: int, level_starts: Sequence[int]) -> Assignment:
    """Separate each object's candidates into positives and background by their scores (steps 3 to 5).

    scores (B, N): the score of every matched anchor (lower is better), anything elsewhere. matches (B, N).
    """
    anchors, best, count = candidates(scores, matches, num_objects, level_starts)
    positives = mixture.cut(best.flatten(0, 1), count.flatten()).view_as(count)
    return Assignment(anchors, best, count, positives)
