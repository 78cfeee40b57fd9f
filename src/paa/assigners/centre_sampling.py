"""The rule of FCOS: anchors near an object's centre, on the level that is meant for objects of its size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from paa.assigners.geometry import centre_offset, centres, farthest_side, nearest_side, strides
from paa.assigners.slots import by_owner
from paa.core.assignment import Assignment, Cost
from paa.core.boxes import area
from paa.core.outputs import HeadOutputs
from paa.errors import ConfigError


@dataclass(frozen=True)
class CentreSamplingAssigner:
    """An anchor is positive if its centre is inside an object, near the object's centre (FCOS: arXiv 2006.09214, §3.2).

    Only anchors' centres and strides count, not their sides. Where an anchor fits several objects, the smallest gets
    it. The rule of torchvision's `FCOS.compute_loss`, which compares areas rounded to 8 square pixels, here exact.
    """

    radius: float = 1.5
    """An anchor's centre is nearer to the object's than this, in x and in y, in strides of the anchor's level."""
    reach: tuple[float, float] = (4.0, 8.0)
    """The distance from an anchor's centre to the object's farthest side is between these, in strides; on the first
    level it may be less, on the last one more."""

    def __post_init__(self) -> None:
        """Raise ConfigError for numbers by which no anchor is positive."""
        low, high = self.reach
        if self.radius <= 0 or low >= high:
            raise ConfigError(
                f"assigner centre-sampling: radius {self.radius:g} must be above 0, and reach ({low:g}, {high:g}) "
                "ascending"
            )

    def __call__(
        self, outputs: HeadOutputs, anchors: Tensor, gt_boxes: Tensor, gt_labels: Tensor, cost: Cost, /
    ) -> Assignment:
        """Return the positives of every object, all of them with its area as score."""
        points, stride, boxes = centres(anchors), strides(anchors, outputs.level_sizes), gt_boxes[:, :, None]
        starts, position = outputs.level_starts(), torch.arange(len(anchors), device=anchors.device)
        least = torch.where(position < starts[1], 0, self.reach[0] * stride)
        most = torch.where(position >= starts[-2], torch.inf, self.reach[1] * stride)
        farthest = farthest_side(points, boxes)
        fits = (farthest > least) & (farthest < most) & (gt_labels >= 0)[..., None]
        fits &= (nearest_side(points, boxes) > 0) & (centre_offset(points, boxes) < self.radius * stride)
        smallest, owner = torch.where(fits, area(boxes), torch.inf).min(1)
        owner = torch.where(smallest < torch.inf, owner, -1)
        per_level = math.ceil(2 * self.radius) ** 2
        return by_owner(owner, smallest, gt_labels.shape[1], per_level * len(outputs.level_sizes))
