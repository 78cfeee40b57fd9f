"""PAA's assignment and losses on the heads of torchvision's RetinaNet, FCOS and Faster R-CNN.

The functions turn what these models have at hand, where they compute their losses, into what `paa.core` takes, and its
assignment into what they take. docs/elsewhere.md has a subclass of each model, of a few lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from torchvision.models.detection.anchor_utils import AnchorGenerator

from paa.core import DELTA_WEIGHTS, Assigner, HeadOutputs, PaaAssigner, assign, encode

_NO_SIDE = 1e-6  # of an anchor's side: a box without a side, whose logarithm is finite
_BETWEEN_THRESHOLDS = -2  # of torchvision's Matcher: an anchor that counts in no loss

Target = Mapping[str, Tensor]
"""The objects of one image: `boxes` (n, 4), xyxy pixels of the resized image, and `labels` (n,) from 0."""

LevelSizes = tuple[tuple[int, int], ...]
"""(rows, columns x anchors of a location) of each level."""


def pad_targets(targets: Sequence[Target], class_agnostic: bool = False) -> tuple[Tensor, Tensor]:
    """Return the objects of a batch as gt_boxes (B, G, 4) and gt_labels (B, G), -1 in an empty slot, for `paa_losses`.

    G is at least 1. class_agnostic: all objects are of class 0, and need no labels.
    """
    boxes = pad_sequence([target["boxes"] for target in targets], batch_first=True)
    own = [target["boxes"].new_zeros(len(target["boxes"])).long() for target in targets] if class_agnostic else None
    labels = pad_sequence(own or [target["labels"] for target in targets], batch_first=True, padding_value=-1)
    if labels.shape[1] == 0:
        return pad(boxes, (0, 0, 0, 1)), pad(labels, (0, 1), value=-1)
    return boxes, labels


def level_sizes(anchors: Tensor, generator: AnchorGenerator) -> LevelSizes:
    """Return the size of each level of the anchors (N, 4) that torchvision's `AnchorGenerator` made for an image.

    RetinaNet's `compute_loss` gets no sizes; but each level begins with the anchors whose centre is (0, 0). The centres
    are copied to the host. ValueError for other anchors.
    """
    per_location = generator.num_anchors_per_location()
    centres = (anchors[:, :2].float() + anchors[:, 2:].float()).cpu()  # under autocast anchors may be 16-bit
    at_origin = (centres == 0).all(1).nonzero().flatten().tolist()
    if len(at_origin) != sum(per_location):
        raise ValueError(
            f"{len(at_origin)} anchors have the centre (0, 0), expected {sum(per_location)}, those of the first cell "
            "of each level: the anchors are not this generator's"
        )
    starts = [at_origin[i] for i in accumulate(per_location[:-1], initial=0)]
    sizes = []
    for first, end in zip(starts, [*starts[1:], len(anchors)]):
        columns = int((centres[first:end, 1] == 0).sum())
        sizes.append(((end - first) // columns, columns))
    return tuple(sizes)


def retinanet_outputs(head_outputs: Mapping[str, Tensor], levels: LevelSizes) -> HeadOutputs:
    """Return what RetinaNet's head predicts as `HeadOutputs`; it predicts no IoU, so `iou_logits` are zeros.

    Its box coder is torchvision's default for it, whose deltas have no factors.
    """
    deltas = head_outputs["bbox_regression"]
    scaled = deltas * deltas.new_tensor(DELTA_WEIGHTS)
    return HeadOutputs(head_outputs["cls_logits"], scaled, torch.zeros_like(deltas[..., 0]), levels)


def fcos_outputs(head_outputs: Mapping[str, Tensor], levels: LevelSizes) -> HeadOutputs:
    """Return what FCOS's head predicts as `HeadOutputs`; its centre-ness branch becomes the one of the IoU.

    The head predicts the distances from the anchor's centre to the four sides, in sides of the anchor; the deltas are
    those of the same box, with a gradient. As all deltas, they end at boxes of 62.5 times the anchor's side.
    """
    left, top, right, bottom = head_outputs["bbox_regression"].unbind(-1)
    wx, wy, ww, wh = DELTA_WEIGHTS
    width, height = ((low + high).clamp(min=_NO_SIDE).log() for low, high in ((left, right), (top, bottom)))
    deltas = torch.stack([(right - left) * (wx / 2), (bottom - top) * (wy / 2), width * ww, height * wh], dim=-1)
    return HeadOutputs(head_outputs["cls_logits"], deltas, head_outputs["bbox_ctrness"].squeeze(2), levels)


def proposal_outputs(proposals: Tensor, objectness: Tensor, anchors: Tensor, levels: LevelSizes) -> HeadOutputs:
    """Return what a proposal network predicts as `HeadOutputs` of one class, without gradients, to assign by.

    proposals (B, N, 4): the decoded boxes. objectness: B x N logits in any shape. anchors (N, 4).
    """
    logits = objectness.detach().reshape(*proposals.shape[:2], 1)
    return HeadOutputs(logits, encode(proposals.detach(), anchors), torch.zeros_like(logits[..., 0]), levels)


def matched_idxs(
    outputs: HeadOutputs,
    anchors: Tensor,
    targets: Sequence[Target],
    assigner: Assigner = PaaAssigner(),
    class_agnostic: bool = False,
) -> list[Tensor]:
    """Return the assignment as torchvision's heads take it: for each image the object of each anchor, (N,) int64.

    anchors (N, 4). -1: background, -2: an anchor that the rule ignores. assigner: PAA's rule, or one of
    `paa.assigners`, of which those that look at strides (centre sampling, SimOTA) want one anchor at a location.
    Weights that a rule gives to positives are left out.
    """
    assignment = assign(outputs, anchors, *pad_targets(targets, class_agnostic), assigner=assigner)
    objects = assignment.objects(len(anchors))
    if assignment.ignored is not None:
        objects = objects.masked_fill(assignment.ignored, _BETWEEN_THRESHOLDS)
    return list(objects)


def proposal_targets(
    outputs: HeadOutputs, anchors: Tensor, targets: Sequence[Target], assigner: Assigner = PaaAssigner()
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the assignment as torchvision's `RegionProposalNetwork` takes it, with all objects of one class.

    For each image the labels of the anchors, (N,) float32, 1, 0 or -1 for those that are ignored, and the box of each
    anchor's object, (N, 4), zeros where there is none.
    """
    labels, boxes = [], []
    for objects, target in zip(matched_idxs(outputs, anchors, targets, assigner, class_agnostic=True), targets):
        labels.append((objects >= 0).float().masked_fill(objects == _BETWEEN_THRESHOLDS, -1))
        boxes.append(pad(target["boxes"], (0, 0, 0, 1))[objects.clamp(min=-1)])  # -1 is the padding, at the end
    return labels, boxes
