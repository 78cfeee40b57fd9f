"""The predictions for every anchor of a batch: all that losses and post-processing need of a model."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class HeadOutputs(NamedTuple):
    """Predictions of B images at N anchors (levels in order, each row by row).

    cls_logits (B, N, C), deltas (B, N, 4), iou_logits (B, N); level_sizes: (rows, columns) of each level.
    """

    cls_logits: Tensor
    deltas: Tensor
    iou_logits: Tensor
    level_sizes: tuple[tuple[int, int], ...]

    def level_starts(self) -> list[int]:
        """Return where each level begins along N, and N itself at the end."""
        starts = [0]
        for rows, columns in self.level_sizes:
            starts.append(starts[-1] + rows * columns)
        return starts
