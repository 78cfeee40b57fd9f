"""Which anchors are positive, and for which object (paper, §3.1 and §3.2).

`Assigner` is the interface of a rule, `PaaAssigner` the paper's rule: match, score, candidates, positives. All objects
of a batch are assigned at once: B images, each with at most G objects, and N anchors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from paa.core.anchors import level_of
from paa.core.boxes import iou
from paa.core.grouping import best_per_group
from paa.core.mixture import count_positives
from paa.core.outputs import HeadOutputs

_PAIRS_AT_ONCE = 1 << 21


class AssignmentError(ValueError):
    """What a rule returned is no `Assignment` of its batch."""


class Assignment(NamedTuple):
    """The candidates of every object, best first, and how many of them are positive. Each object has S slots for them.

    anchors (B, G, S): int64, positions along N, any position after the last candidate. scores (B, G, S): float32,
    lower is better, inf after the last candidate. num_candidates (B, G): int64. num_positives (B, G): int64, 0 for an
    empty slot; the first candidates are the positive ones. weights (B, G, S): float32, above 0, how much each positive
    counts in the losses; None: each counts 1. ignored (B, N): bool, anchors that count in no loss, none of them
    positive; None: every anchor that is not positive is background.
    """

    anchors: Tensor
    scores: Tensor
    num_candidates: Tensor
    num_positives: Tensor
    weights: Tensor | None = None
    ignored: Tensor | None = None

    def is_positive(self) -> Tensor:
        """Return (B, G, S) bool: the candidates that are positive."""
        return torch.arange(self.anchors.shape[2], device=self.anchors.device) < self.num_positives[..., None]

    def loss_weights(self) -> Tensor:
        """Return (B, G, S) float32: how much each candidate counts in the losses, 0 if it is not positive."""
        positive = self.is_positive().float()
        return positive if self.weights is None else positive * self.weights

    def objects(self, num_anchors: int) -> Tensor:
        """Return (B, N) int64: the object for which each anchor is positive, -1 for none."""
        b, g, _ = self.anchors.shape
        # an extra column at the end takes the slots that are not positive
        slots = torch.where(self.is_positive(), self.anchors, num_anchors).flatten(1)
        owner = torch.arange(g, device=slots.device).repeat_interleave(self.anchors.shape[2]).expand(b, -1)
        result = torch.full((b, num_anchors + 1), -1, dtype=torch.int64, device=slots.device)
        return result.scatter_(1, slots, owner)[:, :num_anchors]


Cost = Callable[[Tensor], Tensor]
"""What each anchor would cost as a positive of the object that it is matched with: the paper's anchor score (§3.1).

matches (B, N): int64 positions along G, -1 for none -> (B, N) float32, at least 0, lower is better: the focal loss over
all classes with the object's label as target, plus the GIoU loss of the predicted box. The value of an
anchor without a match means nothing.
"""


class Assigner(Protocol):
    """A rule that chooses the positives of a batch; `paa_losses` calls it without gradients, in float32 (or float64).

    The arguments are outputs, the predictions of B images at N anchors; anchors (N, 4) and gt_boxes (B, G, 4),
    continuous xyxy pixels of the batch; gt_labels (B, G), int64, -1 in an empty slot, whose box means nothing (G is at
    least 1); and `cost`, for rules that choose by the losses themselves. A rule may return any number S of slots, also
    more than an object has candidates. No anchor may be positive for two objects of an image.

    torch.compile and CUDA devices are served best by a rule whose shapes do not depend on the values of tensors.
    """

    def __call__(
        self, outputs: HeadOutputs, anchors: Tensor, gt_boxes: Tensor, gt_labels: Tensor, cost: Cost, /
    ) -> Assignment:
        """Return the candidates of every object and how many of them are positive."""
        ...


@dataclass(frozen=True)
class PaaAssigner:
    """The paper's rule: match, score, candidates, positives (§3.1 and §3.2)."""

    match_iou: float = 0.1
    """Least IoU at which an anchor is matched with an object; the anchors that fit an object best need less."""
    per_level: int = 9
    """Candidates of an object on each level, at most."""

    def __call__(
        self, outputs: HeadOutputs, anchors: Tensor, gt_boxes: Tensor, gt_labels: Tensor, cost: Cost, /
    ) -> Assignment:
        """Return the candidates of every object, S = per_level x levels slots, and how many of them are positive."""
        matches = match(anchors, gt_boxes, gt_labels, self.match_iou)
        level_starts, num_objects = outputs.level_starts(), gt_labels.shape[1]
        chosen, scores, count = candidates_per_object(cost(matches), matches, num_objects, level_starts, self.per_level)
        positives = count_positives(scores.flatten(0, 1), count.flatten()).view_as(count)
        return Assignment(chosen, scores, count, positives)


def match(anchors: Tensor, gt_boxes: Tensor, gt_labels: Tensor, threshold: float = 0.1) -> Tensor:
    """Match each anchor with at most one object: the one of highest IoU, if that IoU is at least `threshold`.

    The anchors that fit an object best, all that tie, are matched with the object of *their own* highest IoU however
    low it is, so that every object has at least one chance.
    anchors (N, 4), gt_boxes (B, G, 4), gt_labels (B, G) with -1 for no object -> (B, N) int64 along G, -1 for none.
    """
    matches: Tensor = _match(anchors, gt_boxes, gt_labels, threshold)
    return matches


@torch.library.custom_op("paa::match", mutates_args=())
def _match(anchors: Tensor, gt_boxes: Tensor, gt_labels: Tensor, threshold: float) -> Tensor:
    """Compute `match` as one operator of torch.compile: the number of rounds of its loop depends on the shapes."""
    (b, g), n = gt_labels.shape, len(anchors)
    highest, owner = gt_boxes.new_full((b, n), -1.0), gt_labels.new_zeros((b, n), dtype=torch.int64)
    best_of_some = torch.zeros_like(owner, dtype=torch.bool)
    # all pairs at once would be gigabytes where an image of the batch has 1,000 objects
    step = max(1, _PAIRS_AT_ONCE // max(1, b * n))
    for first in range(0, g, step):
        overlaps = iou(gt_boxes[:, first : first + step, None], anchors)
        overlaps.masked_fill_((gt_labels[:, first : first + step] < 0)[..., None], -1.0)
        best = overlaps.amax(2, keepdim=True)
        # an object that no anchor touches would tie with every anchor at 0
        best_of_some |= ((overlaps == best) & (best > 0)).any(1)
        value, position = overlaps.max(1)
        owner = torch.where(value > highest, position + first, owner)
        highest = torch.maximum(highest, value)
    return owner.masked_fill_((highest < threshold) & ~best_of_some, -1)


@_match.register_fake
def _(anchors: Tensor, gt_boxes: Tensor, gt_labels: Tensor, threshold: float) -> Tensor:
    """Return the shape of the result, for torch.compile."""
    return gt_labels.new_empty((gt_labels.shape[0], anchors.shape[0]))  # with len, the sizes would be constants


def candidates_per_object(
    scores: Tensor, matches: Tensor, num_objects: int, level_starts: Sequence[int], per_level: int = 9
) -> tuple[Tensor, Tensor, Tensor]:
    """Return each object's `per_level` matched anchors of lowest score on every level, sorted by score (paper, §3.2).

    scores (B, N): non-negative, matches (B, N) as from `match`; level_starts: where each level begins along N, then N.
    Returns anchors (B, G, S), scores (B, G, S) with inf after the last candidate, and the number of candidates (B, G).
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
