"""The statistics of trained batch norm, which every forward pass changes, put back where a pass is not to count."""

from __future__ import annotations

import torch
from torch import Tensor

from paa.model.detector import Detector


class Statistics:
    """A copy of a detector's running means and variances, and of how many batches they have seen.

    Nothing where batch norm is not trained.
    """

    def __init__(self, detector: Detector) -> None:
        """detector: on its device; from here on its buffers may only change in place."""
        buffers = list(detector.buffers()) if detector.config.norm == "batch" else []
        kinds = dict.fromkeys(buffer.dtype for buffer in buffers)
        self._groups = [[buffer for buffer in buffers if buffer.dtype == kind] for kind in kinds]
        self.remember()

    def remember(self) -> None:
        """Keep the statistics as they are now."""
        self._before = [_flat(group) for group in self._groups]

    def restore(self, unless: Tensor | None = None) -> None:
        """Put back what was remembered; unless: () bool, where it is true the statistics stay as they are now."""
        for group, before in zip(self._groups, self._before):
            chosen = before if unless is None else torch.where(unless, _flat(group), before)
            parts = chosen.split([buffer.numel() for buffer in group])
            torch._foreach_copy_(group, [part.view_as(buffer) for part, buffer in zip(parts, group)])


def _flat(tensors: list[Tensor]) -> Tensor:
    """Return a copy of tensors as a single one: a GPU takes as long for each small tensor as for all of them."""
    return torch.cat([tensor.flatten() for tensor in tensors])
