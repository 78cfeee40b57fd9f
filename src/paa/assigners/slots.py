"""From a rule's decision to an `Assignment`: no anchor positive for two objects, the positives first in their slots."""

from __future__ import annotations

import torch
from torch import Tensor

from paa.core.assignment import Assignment
from paa.core.grouping import best_per_group


def by_owner(owner: Tensor, scores: Tensor, num_objects: int, size: int) -> Assignment:
    """Return the assignment in which each anchor is positive for its owner, the `size` of lowest score at most.

    owner (B, N): int64 along G, -1 for none. scores (B, N): at least 0, lower is better.
    """
    b, n = owner.shape
    image = torch.arange(b, device=owner.device)[:, None]
    group = torch.where(owner >= 0, image * num_objects + owner, b * num_objects)
    members, valid = best_per_group(group.flatten(), scores.flatten(), b * num_objects, size, largest=False)
    best = torch.where(valid, scores.flatten()[members].float(), torch.inf)
    count = valid.sum(1).view(b, num_objects)
    return Assignment((members % n).view(b, num_objects, size), best.view(b, num_objects, size), count, count)


def best_claims(chosen: Tensor, quality: Tensor, num_anchors: int) -> Tensor:
    """Return (B, G, K) bool: where an object gets the anchor that it chose, as no other one has a better claim.

    chosen (B, G, K): int64 along N, for each object without repetition. quality (B, G, K): higher is better, below 0
    for no claim. Of equal claims the first object's counts.
    """
    b, g, k = chosen.shape
    anchors, claims = chosen.flatten(1), quality.flatten(1)
    best = claims.new_zeros((b, num_anchors)).scatter_reduce(1, anchors, claims, "amax")
    highest = (claims >= 0) & (claims == best.gather(1, anchors))
    objects = torch.where(highest, torch.arange(g, device=chosen.device).repeat_interleave(k), g)
    first = objects.new_full((b, num_anchors), g).scatter_reduce(1, anchors, objects, "amin")
    return (highest & (objects == first.gather(1, anchors))).view_as(chosen)


def by_choice(chosen: Tensor, scores: Tensor, positive: Tensor, weights: Tensor | None = None) -> Assignment:
    """Return the assignment in which each object's positives are some of the anchors that it chose.

    chosen (B, G, K): int64 along N. scores (B, G, K): lower is better. positive (B, G, K): bool, no anchor for two
    objects. weights (B, G, K): as in `Assignment`.
    """
    best, order = torch.where(positive, scores.float(), torch.inf).sort(dim=2, stable=True)
    count = positive.sum(2)
    return Assignment(
        chosen.gather(2, order), best, count, count, None if weights is None else weights.float().gather(2, order)
    )
