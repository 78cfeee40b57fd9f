"""RoIAlign as one sparse product, for Faster R-CNN on a CPU.

torchvision's CPU kernel adds each channel's gradient to the features one place at a time: at the sizes of accuracy.py
its backward pass alone is more than half of a training step of Faster R-CNN. A cell of a pooled box is a weighted sum
of at most 16 places of the features, and `embedding_bag` sums such places for all channels at once. Results and
gradients are those of torchvision's to rounding (tests/test_accuracy_benchmark.py compares them).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import LevelMapper

SAMPLES = 2
"""Points of a cell along each axis, torchvision's `sampling_ratio`."""


class SparseRoIAlign(MultiScaleRoIAlign):
    """torchvision's module with two samples an axis, computed as a sparse product where the features are on a CPU."""

    def __init__(self, names: list[str], cells: int, strides: Sequence[int]) -> None:
        """names, strides: of the levels, finest first. cells: of a pooled box along each axis."""
        super().__init__(names, cells, SAMPLES)
        self.cells, self.strides = cells, torch.tensor(strides)
        first, last = (stride.bit_length() - 1 for stride in (strides[0], strides[-1]))
        self.mapper = LevelMapper(first, last, self.canonical_scale, self.canonical_level)

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        """Return (boxes of all images, channels, cells, cells). boxes: (n, 4) of each image, xyxy in its pixels."""
        levels = [x[name] for name in self.featmap_names]
        if not levels[0].is_cpu:
            pooled: Tensor = super().forward(x, boxes, image_shapes)
            return pooled
        channels = levels[0].shape[1]
        places = torch.cat([level.permute(0, 2, 3, 1).reshape(-1, channels) for level in levels])
        counts = torch.tensor([level[:, 0].numel() for level in levels])
        sizes = torch.tensor([level.shape[2:] for level in levels])
        level = self.mapper(boxes)
        image = torch.repeat_interleave(torch.tensor([len(each) for each in boxes]))
        first = (counts.cumsum(0) - counts)[level] + image * sizes.prod(1)[level]
        corners = torch.cat(boxes) / self.strides[level, None]
        height, width = sizes[level].unbind(1)
        rows, row_weights = sampled(corners[:, 1], corners[:, 3], height, self.cells)
        columns, column_weights = sampled(corners[:, 0], corners[:, 2], width, self.cells)
        # (boxes, cells down, cells across, 4 rows, 4 columns)
        index = first[:, None, None, None, None] + rows[:, :, None, :, None] * width[:, None, None, None, None]
        index = index + columns[:, None, :, None, :]
        weights = row_weights[:, :, None, :, None] * column_weights[:, None, :, None, :]
        sums = embedding_bag(
            index.flatten(0, 2).flatten(1), places, per_sample_weights=weights.flatten(0, 2).flatten(1), mode="sum"
        )
        return sums.view(-1, self.cells, self.cells, channels).permute(0, 3, 1, 2)


def sampled(low: Tensor, high: Tensor, limit: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """Return where the cells of boxes sample an axis of the features: places and weights, both (n, cells, 4).

    low, high: (n,) ends of the boxes, in places of their level; a box shorter than one place is taken as one long.
    limit: (n,) places of the axis. A point more than one place outside counts nothing, one that is nearer counts as the
    last place.
    """
    spacing = (high - low).clamp(min=1) / (cells * SAMPLES)
    points = low[:, None] + (torch.arange(cells * SAMPLES) + 0.5) * spacing[:, None]
    inside = (points >= -1) & (points <= limit[:, None])
    last = limit[:, None] - 1
    points = torch.minimum(points.clamp(min=0), last)
    before = points.floor()
    after = torch.minimum(before + 1, last)
    share = points - before
    weights = torch.stack([1 - share, share], -1) * inside[..., None] / SAMPLES
    places = torch.stack([before, after], -1).long()
    return places.unflatten(1, (cells, SAMPLES)).flatten(2), weights.unflatten(1, (cells, SAMPLES)).flatten(2)
