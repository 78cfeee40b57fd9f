"""The assignment of torchvision's Matcher, and what differs from it on purpose."""

from __future__ import annotations

import pytest
import torch
from torchvision.models.detection._utils import Matcher

from paa.assigners import HighestIouAssigner
from paa.core import iou
from tests.assigners.rules import assign, per_anchor
from tests.scenes import ANCHORS, Scene, draw_outputs, draw_scene


@pytest.mark.parametrize("thresholds", [(0.5, 0.4), (0.7, 0.3), (0.3, 0.3)])
@pytest.mark.parametrize("seed", range(40, 46))
def test_it_is_torchvisions(seed: int, thresholds: tuple[float, float]) -> None:
    scene = draw_scene(seed, (7, 2, 0), 8, whole=seed % 2 == 0)
    found = per_anchor(assign(HighestIouAssigner(*thresholds), scene))
    matcher = Matcher(*thresholds, allow_low_quality_matches=True)
    for boxes, labels, objects, ignored in zip(scene.gt_boxes, scene.gt_labels, found["object"], found["ignored"]):
        real = (labels >= 0).nonzero().squeeze(1)
        if not len(real):
            assert (objects == -1).all()
            assert not ignored.any()
            continue
        matches = matcher(iou(boxes[real][:, None], ANCHORS))
        assert torch.equal(objects, torch.where(matches >= 0, real[matches.clamp(min=0)], -1))
        assert torch.equal(ignored, matches == Matcher.BETWEEN_THRESHOLDS)
        assert (matches >= 0).any()


def test_an_object_that_no_anchor_touches_gets_none() -> None:
    boxes = torch.tensor([[[20.0, 20, 90, 80], [5000.0, 5000, 5100, 5100]]])
    found = assign(HighestIouAssigner(), Scene(draw_outputs(0, 1, 2), boxes, torch.tensor([[0, 1]])))
    assert found.num_positives[0, 0] > 0
    assert found.num_positives[0, 1] == 0


def test_positives_beyond_the_slots_are_ignored() -> None:
    """Those of highest IoU stay; the others neither train the object nor the background."""
    boxes = torch.tensor([[[30.0, 30, 96, 96], [100.0, 30, 164, 90]]])
    scene = Scene(draw_outputs(0, 1, 2), boxes, torch.tensor([[0, 1]]))
    whole, few = (per_anchor(assign(HighestIouAssigner(slots=slots), scene)) for slots in (128, 3))
    assert whole["ignored"].any()
    dropped = (whole["object"] >= 0) & (few["object"] < 0)
    assert torch.equal(few["ignored"], whole["ignored"] | dropped)
    for o in range(2):
        own = whole["object"] == o
        assert own.sum() > 5
        assert (own & ~dropped).sum() == 3
        assert whole["score"][own & ~dropped].max() <= whole["score"][own & dropped].min()
