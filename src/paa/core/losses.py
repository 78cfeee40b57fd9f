"""The three losses of a batch: focal classification, GIoU of the boxes, and the prediction of the IoU (paper, §3).

The classification part of the assignment's score and the classification loss are the same focal loss, so its dense part
(every anchor pushed away from every class) is computed once for both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from paa.core.assignment import Assignment, assign, match
from paa.core.boxes import decode, giou, iou
from paa.core.outputs import HeadOutputs

GAMMA = 2.0
ALPHA = 0.25
BOX_WEIGHT = 1.3
IOU_WEIGHT = 0.5


class _NegativeFocal(torch.autograd.Function):
    """(1 - alpha) x p^2 x -log(1 - p) summed over the classes: logits (..., C) -> (...).

    The derivative is worked out in the forward pass, while p is at hand: autograd would keep five tensors of this size,
    the largest of the whole loss, and go over each again.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        p = logits.sigmoid()
        cost = F.softplus(logits)
        if ctx.needs_input_grad[0]:
            # d/dx p^2 s = p^2 (2 (1 - p) s + p), where s = softplus(x), s' = p
            slope = (1 - p).mul_(2).mul_(cost).add_(p).mul_(p).mul_(p).mul_(1 - ALPHA)
            ctx.save_for_backward(slope)
        return cost.mul_(p).mul_(p).sum(-1).mul_(1 - ALPHA)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        slope: Tensor = ctx.saved_tensors[0]
        return slope * grad[..., None]


def negative_focal(logits: Tensor) -> Tensor:
    """Return the focal loss of anchors that show nothing, summed over the classes: logits (..., C) -> (...)."""
    result: Tensor = _NegativeFocal.apply(logits)
    return result


def focal_difference(logits: Tensor) -> Tensor:
    """Return what the focal loss (Lin et al. 2017) changes by when a class is the target, not none: (...) -> (...)."""
    p = logits.sigmoid()
    positive = ALPHA * (1 - p).pow(GAMMA) * F.softplus(-logits)
    negative = (1 - ALPHA) * p.pow(GAMMA) * F.softplus(logits)
    return positive - negative


class LossResult(NamedTuple):
    """The losses of a batch, and what they rest on.

    losses: `classification`, `box` and `iou`, scalars whose sum is trained on. matches (B, N), from `match`.
    positives: their number, averaged over processes.
    """

    losses: dict[str, Tensor]
    assignment: Assignment
    matches: Tensor
    positives: Tensor


def _take(per_anchor: Tensor, anchors: Tensor) -> Tensor:
    """Pick rows of (B, N, D) at anchors (B, ...) -> (B, ..., D)."""
    flat = anchors.flatten(1)
    return per_anchor.gather(1, flat[..., None].expand(-1, -1, per_anchor.shape[2])).view(*anchors.shape, -1)


@torch.no_grad()
def anchor_scores(
    outputs: HeadOutputs,
    negatives: Tensor,
    anchors: Tensor,
    matches: Tensor,
    gt_boxes: Tensor,
    gt_labels: Tensor,
    legacy: bool,
) -> Tensor:
    """Return how badly each matched anchor fits its object (paper, §3.1): (B, N), lower is better.

    Focal loss summed over all classes with the object's label as target, plus the GIoU loss of the decoded box.
    negatives (B, N): `negative_focal` of the logits. Where an anchor has no match the value means nothing.
    """
    owner = matches.clamp(min=0)
    labels = gt_labels.gather(1, owner).clamp(min=0)
    own_logit = outputs.cls_logits.gather(2, labels[..., None]).squeeze(2)
    box_loss = 1 - giou(decode(outputs.deltas, anchors), _take(gt_boxes, owner), legacy)
    return (negatives + focal_difference(own_logit) + box_loss).clamp(min=0)


def paa_losses(
    outputs: HeadOutputs,
    anchors: Tensor,
    gt_boxes: Tensor,
    gt_labels: Tensor,
    *,
    legacy: bool = False,
    average: Callable[[Tensor], Tensor] = lambda values: values,
) -> LossResult:
    """Assign the anchors of a batch and return its three losses.

    outputs: of B images at N anchors. anchors (N, 4). gt_boxes (B, G, 4), gt_labels (B, G): -1 where there is none.
    legacy: the official code's GIoU. average: the mean of a tensor over all processes (torch.distributed), for the
    normalisers; a single process needs none. Losses are computed in float32. No object anywhere is ordinary input: the
    classification loss still pushes down, the other two are zero with a graph.
    """
    outputs = outputs._replace(
        cls_logits=outputs.cls_logits.float(), deltas=outputs.deltas.float(), iou_logits=outputs.iou_logits.float()
    )
    if gt_labels.shape[1] == 0:  # an empty slot is what an image without objects has anyway
        gt_boxes, gt_labels = F.pad(gt_boxes, (0, 0, 0, 1)), F.pad(gt_labels, (0, 1), value=-1)
    negatives = negative_focal(outputs.cls_logits)
    matches = match(anchors, gt_boxes, gt_labels)
    scores = anchor_scores(outputs, negatives.detach(), anchors, matches, gt_boxes, gt_labels, legacy)
    assignment = assign(scores, matches, gt_labels.shape[1], outputs.level_starts())

    # Every object has the same number of candidate slots, so shapes never depend on the numbers in them.
    slots = assignment.anchors
    positive = assignment.is_positive().float()
    labels = gt_labels.clamp(min=0)[..., None].expand_as(slots)
    flat = (slots * outputs.cls_logits.shape[2] + labels).flatten(1)
    logits = outputs.cls_logits.flatten(1).gather(1, flat).view_as(positive)
    # where a slot is not positive its anchor stands in, so that no prediction there can spoil a gradient
    predicted = decode(_take(outputs.deltas, slots), anchors[slots])
    predicted = torch.where(positive[..., None] > 0, predicted, anchors[slots])
    truth = gt_boxes[:, :, None]
    overlap = iou(predicted.detach(), truth) * positive
    iou_logits = outputs.iou_logits.gather(1, slots.flatten(1)).view_as(positive)

    normalisers = average(torch.stack([positive.sum(), overlap.sum()]))
    num_positives, iou_sum = normalisers[0].clamp(min=1), normalisers[1].clamp(min=1e-12)
    box = 1 - giou(predicted, truth, legacy)
    iou_loss = F.binary_cross_entropy_with_logits(iou_logits, overlap, reduction="none")
    losses = {
        "classification": (negatives.sum() + (focal_difference(logits) * positive).sum()) / num_positives,
        "box": BOX_WEIGHT * (overlap * box).sum() / iou_sum,
        "iou": IOU_WEIGHT * (iou_loss * positive).sum() / num_positives,
    }
    return LossResult(losses, assignment, matches, normalisers[0])
