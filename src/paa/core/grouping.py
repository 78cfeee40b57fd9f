"""The best k members of every group, for all groups at once, by one sort, without a loop or a copy to the host."""

from __future__ import annotations

import torch
from torch import Tensor


def best_per_group(group: Tensor, score: Tensor, num_groups: int, k: int, largest: bool) -> tuple[Tensor, Tensor]:
    """Return the k members of lowest (or, with `largest`, highest) score of each group, best first.

    group (M,): int64 in 0..num_groups - 1; `num_groups` for a member of no group. score (M,): float32, at least 0.
    Returns members (num_groups, k), positions in 0..M - 1, and valid (num_groups, k), false where a group has fewer
    than k members (the position in such a slot means nothing). Ties go to the earlier member.
    """
    if len(group) == 0:
        empty = torch.zeros((num_groups, k), dtype=torch.int64, device=group.device)
        return empty, empty.bool()
    # The bits of non-negative float32 numbers are ordered as the numbers are, so (group, score) is one integer.
    bits = score.float().clamp(min=0).view(torch.int32).long()
    ordered, members = torch.sort((group << 32) + (0x7FFFFFFF - bits if largest else bits), stable=True)
    starts = torch.searchsorted(ordered, torch.arange(num_groups + 1, device=group.device) << 32)
    positions = starts[:-1, None] + torch.arange(k, device=group.device)
    valid = positions < starts[1:, None]
    positions = positions.clamp(max=len(group) - 1)
    return members.index_select(0, positions.flatten()).view(positions.shape), valid
