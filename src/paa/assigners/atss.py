"""The rule of ATSS: each object's IoUs with the anchors around its centre say from which IoU on they are positive."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from paa.assigners.geometry import centres, nearest_side
from paa.assigners.slots import best_claims, by_choice
from paa.core.assignment import Assignment, Cost
from paa.core.boxes import iou
from paa.core.outputs import HeadOutputs


@dataclass(frozen=True)
class AtssAssigner:
    """Adaptive training sample selection (Zhang et al. 2020, arXiv 1912.02424, algorithm 1).

    An object's candidates are the anchors nearest to its centre on each level. Those are positive whose IoU is at least
    the mean plus the standard deviation of the candidates' IoUs, and whose centre is inside the object. Where several
    objects want an anchor, the one of highest IoU gets it. Equal to MMDetection's `ATSSAssigner`.
    """

    per_level: int = 9
    """Candidates of an object on each level."""

    def __call__(
        self, outputs: HeadOutputs, anchors: Tensor, gt_boxes: Tensor, gt_labels: Tensor, cost: Cost, /
    ) -> Assignment:
        """Return the positives of every object, of highest IoU first."""
        (x, y), (x0, y0) = centres(anchors).unbind(1), centres(gt_boxes)[:, :, None].unbind(3)
        distance = (x - x0).square() + (y - y0).square()
        starts = outputs.level_starts()
        levels = [
            distance[..., first:last].topk(min(self.per_level, last - first), largest=False).indices + first
            for first, last in pairwise(starts)
        ]
        chosen = torch.cat(levels, 2)
        boxes, truth = anchors[chosen], gt_boxes[:, :, None]
        overlap = iou(boxes, truth)
        threshold = overlap.mean(2, keepdim=True) + overlap.std(2, keepdim=True)
        # 0.01 pixels, as in the authors' code
        fits = (overlap >= threshold) & (nearest_side(centres(boxes), truth) > 0.01) & (gt_labels >= 0)[..., None]
        positive = best_claims(chosen, torch.where(fits, overlap, -1), len(anchors))
        return by_choice(chosen, 1 - overlap, positive)
