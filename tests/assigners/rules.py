"""What tests of assignment rules share: a rule called as `paa_losses` calls it, and its result for each anchor."""

from __future__ import annotations

import torch
from torch import Tensor

import paa
from paa.core import Assigner, Assignment
from tests.scenes import ANCHORS, Scene


def assign(rule: Assigner, scene: Scene) -> Assignment:
    """Return the assignment of a scene by a rule."""
    return paa.assign(scene.outputs, ANCHORS, scene.gt_boxes, scene.gt_labels, assigner=rule)


def owners(rule: Assigner, scene: Scene) -> Tensor:
    """Return (B, N) int64: the object for which each anchor is positive, -1 for none."""
    return assign(rule, scene).objects(len(ANCHORS))


def per_anchor(assignment: Assignment) -> dict[str, Tensor]:
    """Return what an assignment says of each anchor (B, N): its object, score and weight, and whether it is ignored."""
    b, n = len(assignment.anchors), len(ANCHORS)
    slots = torch.where(assignment.is_positive(), assignment.anchors, n).flatten(1)

    def scattered(values: Tensor) -> Tensor:
        return torch.zeros(b, n + 1).scatter(1, slots, values.float().flatten(1))[:, :n]

    ignored = torch.zeros(b, n, dtype=torch.bool) if assignment.ignored is None else assignment.ignored
    return {
        "object": assignment.objects(n),
        "score": scattered(assignment.scores),
        "weight": scattered(assignment.loss_weights()),
        "ignored": ignored,
    }
