"""One square anchor per cell of every level."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

STRIDES = (8, 16, 32, 64, 128)


def make_anchors(
    level_sizes: Sequence[tuple[int, int]],
    strides: Sequence[int] = STRIDES,
    *,
    scale: float = 8.0,
    offset: float = 0.5,
    shift: float = 0.0,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return anchors (N, 4), xyxy pixels, of side scale x stride: levels in order, each row by row.

    level_sizes: (rows, columns) of each level. scale: 8 in the paper and in all implementations' checkpoints. Centre
    of column j: (j + offset) x stride + shift pixels: offset 0.5 and shift 0 for new models, 0.5 and 0.5 for the
    seed's and the official checkpoints, 0 and 0 for MMDetection's.
    """
    levels = []
    for (rows, columns), stride in zip(level_sizes, strides, strict=True):
        y = (torch.arange(rows, device=device, dtype=torch.float32) + offset) * stride + shift
        x = (torch.arange(columns, device=device, dtype=torch.float32) + offset) * stride + shift
        centres = torch.stack([x.expand(rows, columns), y[:, None].expand(rows, columns)], dim=-1).flatten(0, 1)
        half = scale * stride / 2
        levels.append(torch.cat([centres - half, centres + half], dim=1))
    return torch.cat(levels)


def level_of(positions: Tensor, level_starts: Sequence[int]) -> Tensor:
    """Return the level of anchors at these positions along N: (...) int64 -> (...) int64.

    level_starts: where each level begins along N, then N; plain numbers, since a tensor of them would have to be copied
    to the device.
    """
    level = torch.zeros_like(positions)
    for start in level_starts[1:-1]:
        level += positions >= start
    return level
