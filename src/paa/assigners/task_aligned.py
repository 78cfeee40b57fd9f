"""The rule of TOOD: anchors are positive where class and box are predicted well together, and count accordingly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from paa.assigners.geometry import centres, nearest_side, own_logits
from paa.assigners.slots import best_claims, by_choice
from paa.core.assignment import Assignment, Cost
from paa.core.boxes import decode, iou
from paa.core.outputs import HeadOutputs


@dataclass(frozen=True)
class TaskAlignedAssigner:
    """Task-aligned learning (TOOD: Feng et al. 2021, arXiv 2108.07755, §3.2).

    An anchor's metric for an object is s^alpha x u^beta: s the class probability, u the IoU of the predicted box. Those
    of the `top` anchors are positive whose centre is inside the object. Where several objects want an anchor, the one
    of highest IoU gets it. Equal to MMDetection's `TaskAlignedAssigner`, and the weights to the `TOODHead`'s targets:
    the metric scaled so that an object's largest one is the highest IoU of its positives.

    TOOD trains a positive's class probability towards its weight t, here it is pulled up with weight t and down with
    weight 1 - t: without the focal factors both are the same cross-entropy. The normalisers too are sums of t. The box
    loss has t as TOOD's has, and beside it the IoU, as all box losses of `paa_losses`.
    """

    top: int = 13
    """Candidates of an object."""
    alpha: float = 1.0
    """Exponent of the class probability."""
    beta: float = 6.0
    """Exponent of the IoU."""

    def __call__(
        self, outputs: HeadOutputs, anchors: Tensor, gt_boxes: Tensor, gt_labels: Tensor, cost: Cost, /
    ) -> Assignment:
        """Return the positives of every object with their weights, of highest metric first."""
        truth = gt_boxes[:, :, None]
        overlap = iou(decode(outputs.deltas, anchors)[:, None], truth)
        metric = own_logits(outputs, gt_labels).sigmoid() ** self.alpha * overlap**self.beta
        highest, chosen = metric.topk(min(self.top, len(anchors)))
        own_overlap = overlap.gather(2, chosen)
        # 0.01 pixels, as in the authors' code
        fits = (highest > 0) & (nearest_side(centres(anchors)[chosen], truth) > 0.01) & (gt_labels >= 0)[..., None]
        positive = best_claims(chosen, torch.where(fits, own_overlap, -1), len(anchors))
        metrics, overlaps = torch.where(positive, highest, 0), torch.where(positive, own_overlap, 0)
        weights = metrics / (metrics.amax(2, keepdim=True) + 1e-7) * overlaps.amax(2, keepdim=True)
        return by_choice(chosen, 1 - highest, positive, weights)
