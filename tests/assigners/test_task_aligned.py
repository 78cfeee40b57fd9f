"""The assignment of MMDetection's TaskAlignedAssigner and the targets of its TOODHead, in golden numbers."""

from __future__ import annotations

import torch

from paa.assigners import TaskAlignedAssigner
from tests.assigners.goldens import golden, golden_scene
from tests.assigners.rules import assign, per_anchor


def test_it_is_mmdetections() -> None:
    expected = golden("task_aligned")
    assert (expected >= 0).sum() > 100
    found = per_anchor(assign(TaskAlignedAssigner(), golden_scene()))
    assert torch.equal(found["object"], expected)
    torch.testing.assert_close(found["weight"], golden("task_aligned_targets"), rtol=1e-4, atol=1e-7)
    metrics = torch.where(expected >= 0, 1 - found["score"], 0)
    torch.testing.assert_close(metrics, golden("task_aligned_metrics"), rtol=0, atol=1e-6)


def test_an_objects_largest_weight_is_the_highest_iou_of_its_positives() -> None:
    assignment = assign(TaskAlignedAssigner(), golden_scene())
    assert assignment.weights is not None
    assert (assignment.weights[..., 0] <= 1).all()
    assert (assignment.weights[..., :-1] >= assignment.weights[..., 1:]).all()
