"""The three losses of a batch: focal classification, GIoU of the boxes, and the prediction of the IoU (paper, §3).

The cost by which anchors are assigned and the classification loss contain the same focal loss, so its dense part (every
anchor as background, for every class) is computed once for both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from paa.core.assignment import Assigner, Assignment, AssignmentError, PaaAssigner
from paa.core.boxes import decode, giou, iou
from paa.core.outputs import HeadOutputs


@dataclass(frozen=True)
class LossWeights:
    """The constants of the losses, with the paper's values."""

    alpha: float = 0.25
    """Focal loss: weight of the positives; that of the background is 1 - alpha."""
    gamma: float = 2.0
    """Focal loss: exponent that lowers the loss of well-classified anchors."""
    box: float = 1.3
    """Factor of the box loss."""
    iou: float = 0.5
    """Factor of the loss of the IoU prediction."""


class LossResult(NamedTuple):
    """The losses of a batch, and the assignment behind them.

    losses: `classification`, `box` and `iou`, scalars whose sum is trained on. num_positives: how many positives there
    are (or, where the assigner weighs them, their total weight), averaged over processes. iou_sum: the sum of their
    IoUs with their objects, likewise.
    """

    losses: dict[str, Tensor]
    assignment: Assignment
    num_positives: Tensor
    iou_sum: Tensor


def paa_losses(
    outputs: HeadOutputs,
    anchors: Tensor,
    gt_boxes: Tensor,
    gt_labels: Tensor,
    *,
    assigner: Assigner = PaaAssigner(),
    weights: LossWeights = LossWeights(),
    legacy: bool = False,
    average: Callable[[Tensor], Tensor] = lambda values: values,
) -> LossResult:
    """Assign the anchors of a batch and return its three losses.

    outputs: of B images at N anchors. anchors (N, 4). gt_boxes (B, G, 4): continuous xyxy pixels. gt_labels (B, G):
    from 0, -1 where there is no object. assigner: the rule that chooses the positives. legacy: the official code's
    GIoU. average: the mean of a tensor over all processes (torch.distributed), for the normalisers; a single process
    needs none. Losses are computed in float32, or in float64 if the outputs are float64. A batch without objects is
    ordinary input: the classification loss still lowers the scores, the other two are zero, with a graph.
    AssignmentError if the assigner's result is not an `Assignment` or has the wrong shapes.
    """
    dtype = torch.promote_types(outputs.deltas.dtype, torch.float32)
    outputs = HeadOutputs(  # torch 2.8 cannot compile _replace
        outputs.cls_logits.to(dtype), outputs.deltas.to(dtype), outputs.iou_logits.to(dtype), outputs.level_sizes
    )
    if gt_labels.shape[1] == 0:  # assigners expect at least one slot: here an empty one
        gt_boxes, gt_labels = F.pad(gt_boxes, (0, 0, 0, 1)), F.pad(gt_labels, (0, 1), value=-1)
    negatives = _negative_focal(outputs.cls_logits, weights)

    def cost(matches: Tensor) -> Tensor:
        return _cost(outputs, negatives, anchors, matches, gt_boxes, gt_labels, weights, legacy).float()

    with torch.no_grad():
        assignment = assigner(outputs, anchors, gt_boxes, gt_labels, cost)
    _check(assignment, gt_labels, len(anchors))

    # Every object has the same number of slots, so no shape depends on how many positives there are.
    slots = assignment.anchors
    slot_weights = assignment.loss_weights()
    labels = gt_labels.clamp(min=0)[..., None].expand_as(slots)
    flat = (slots * outputs.cls_logits.shape[2] + labels).flatten(1)
    logits = outputs.cls_logits.flatten(1).gather(1, flat).view_as(slot_weights)
    # in a slot that is not positive the anchor replaces the prediction, which could otherwise spoil a gradient
    predicted = decode(_take(outputs.deltas, slots), anchors[slots])
    predicted = torch.where(slot_weights[..., None] > 0, predicted, anchors[slots])
    truth = gt_boxes[:, :, None]
    overlap = iou(predicted.detach(), truth)
    box_weights = overlap * slot_weights
    iou_logits = outputs.iou_logits.gather(1, slots.flatten(1)).view_as(slot_weights)

    normalisers = average(torch.stack([slot_weights.sum(), box_weights.sum()]))
    num_positives, iou_sum = normalisers[0].clamp(min=1), normalisers[1].clamp(min=1e-12)
    if assignment.ignored is not None:
        negatives = negatives.masked_fill(assignment.ignored, 0)
    difference = _focal_difference(logits, weights) * slot_weights
    box_loss = (1 - giou(predicted, truth, legacy)) * box_weights
    iou_loss = F.binary_cross_entropy_with_logits(iou_logits, overlap, reduction="none") * slot_weights
    losses = {
        "classification": (negatives.sum() + difference.sum()) / num_positives,
        "box": weights.box * box_loss.sum() / iou_sum,
        "iou": weights.iou * iou_loss.sum() / num_positives,
    }
    return LossResult(losses, assignment, *normalisers)


@torch.no_grad()
def assign(
    outputs: HeadOutputs,
    anchors: Tensor,
    gt_boxes: Tensor,
    gt_labels: Tensor,
    *,
    assigner: Assigner = PaaAssigner(),
    weights: LossWeights = LossWeights(),
    legacy: bool = False,
) -> Assignment:
    """Return which anchors are positive, and for which object: the assignment that `paa_losses` trains on.

    The arguments are those of `paa_losses`.
    """
    # the losses take little time beside the assignment, and so the result is always the one that is trained on
    return paa_losses(
        outputs, anchors, gt_boxes, gt_labels, assigner=assigner, weights=weights, legacy=legacy
    ).assignment


class _NegativeFocal(torch.autograd.Function):
    """Focal loss of background: (1 - alpha) x p^gamma x -log(1 - p) summed over classes; logits (..., C) -> (...).

    The derivative is computed in the forward pass, while p is at hand: autograd would keep five tensors of the logits'
    size, the largest of the whole loss, and read each again.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, alpha: float, gamma: float) -> Tensor:
        p = logits.sigmoid()
        cost = F.softplus(logits)
        ctx.alpha, ctx.gamma = alpha, gamma
        slope = None
        if ctx.needs_input_grad[0]:
            # d/dx p^g s = p^g (g (1 - p) s + p), where s = softplus(x), s' = p
            slope = (1 - p).mul_(gamma).mul_(cost).add_(p)
        power = p.pow_(gamma)
        if slope is not None:
            ctx.save_for_backward(logits, slope.mul_(power).mul_(1 - alpha))
        return cost.mul_(power).sum(-1).mul_(1 - alpha)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        logits, slope = ctx.saved_tensors
        if torch.is_grad_enabled():  # for a second derivative, in which the saved slope would count as constant
            p = logits.sigmoid()
            slope = (1 - ctx.alpha) * p.pow(ctx.gamma) * (ctx.gamma * (1 - p) * F.softplus(logits) + p)
        return slope * grad[..., None], None, None


def _negative_focal(logits: Tensor, weights: LossWeights) -> Tensor:
    """Return the focal loss of each anchor as background, summed over the classes: logits (..., C) -> (...)."""
    result: Tensor = _NegativeFocal.apply(logits, weights.alpha, weights.gamma)
    return result


def _focal_difference(logits: Tensor, weights: LossWeights) -> Tensor:
    """Return each logit's focal loss if its class is the target, minus that if it is not: (...) -> (...)."""
    p = logits.sigmoid()
    positive = weights.alpha * (1 - p).pow(weights.gamma) * F.softplus(-logits)
    negative = (1 - weights.alpha) * p.pow(weights.gamma) * F.softplus(logits)
    return positive - negative


def _take(per_anchor: Tensor, anchors: Tensor) -> Tensor:
    """Pick rows of (B, N, D) at anchors (B, ...) -> (B, ..., D)."""
    flat = anchors.flatten(1)
    size = per_anchor.shape[2]
    return per_anchor.gather(1, flat[..., None].expand(-1, -1, size)).view(*anchors.shape, size)


@torch.no_grad()
def _cost(
    outputs: HeadOutputs,
    negatives: Tensor,
    anchors: Tensor,
    matches: Tensor,
    gt_boxes: Tensor,
    gt_labels: Tensor,
    weights: LossWeights,
    legacy: bool,
) -> Tensor:
    """Return the cost of each anchor, as `Cost` describes it. negatives (B, N): `_negative_focal` of the logits."""
    owner = matches.clamp(min=0)
    labels = gt_labels.gather(1, owner).clamp(min=0)
    own_logit = outputs.cls_logits.gather(2, labels[..., None]).squeeze(2)
    box_loss = 1 - giou(decode(outputs.deltas, anchors), _take(gt_boxes, owner), legacy)
    return (negatives + _focal_difference(own_logit, weights) + box_loss).clamp(min=0)


def _check(assignment: Assignment, gt_labels: Tensor, num_anchors: int) -> None:
    """Raise AssignmentError unless this is an assignment with the shapes that belong to gt_labels (B, G)."""
    if not isinstance(assignment, Assignment):
        raise AssignmentError(f"the assigner returned {type(assignment).__name__}; expected a paa.core.Assignment")
    for name in ("anchors", "num_candidates", "num_positives"):
        if (kind := getattr(assignment, name).dtype) not in (torch.int64, torch.int32):
            raise AssignmentError(f"the assigner returned {name} of {kind}; expected torch.int64")
    given = assignment.anchors.shape, assignment.num_positives.shape
    if len(given[0]) != 3 or given[0][:2] != gt_labels.shape or given[1] != gt_labels.shape:
        b, g = gt_labels.shape
        raise AssignmentError(
            f"the assigner returned anchors {tuple(given[0])} and num_positives {tuple(given[1])} for {b} images of "
            f"{g} object slots; expected ({b}, {g}, slots) and ({b}, {g})"
        )
    if assignment.scores.shape != given[0] or assignment.num_candidates.shape != given[1]:
        raise AssignmentError(
            f"the assigner returned scores {tuple(assignment.scores.shape)} and num_candidates "
            f"{tuple(assignment.num_candidates.shape)}; expected the shapes of anchors, {tuple(given[0])}, and of "
            f"num_positives, {tuple(given[1])}"
        )
    if assignment.weights is not None and assignment.weights.shape != given[0]:
        raise AssignmentError(
            f"the assigner returned weights {tuple(assignment.weights.shape)} for anchors {tuple(given[0])}; "
            "expected one weight for each anchor"
        )
    if assignment.ignored is not None and assignment.ignored.shape != (len(gt_labels), num_anchors):
        raise AssignmentError(
            f"the assigner returned ignored {tuple(assignment.ignored.shape)} for {len(gt_labels)} images of "
            f"{num_anchors} anchors; expected one flag for each anchor"
        )
