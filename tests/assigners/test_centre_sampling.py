"""The assignment of torchvision's FCOS."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torchvision.models.detection import FCOS

import paa
from paa.assigners import CentreSamplingAssigner
from paa.core import make_anchors
from tests.assigners.rules import owners
from tests.scenes import ANCHORS, LEVEL_SIZES, Scene, draw_outputs, draw_scene

SIZES = [rows * columns for rows, columns in LEVEL_SIZES]


def matched(boxes: Tensor, radius: float) -> Tensor:
    """Return torchvision's object of each anchor (N,), -1 for none."""
    head = SimpleNamespace(compute_loss=lambda targets, outputs, anchors, matched_idxs: matched_idxs[0])
    model = SimpleNamespace(center_sampling_radius=radius, head=head)
    result: Tensor = FCOS.compute_loss(model, [{"boxes": boxes}], {}, [make_anchors(LEVEL_SIZES, scale=1)], SIZES)
    return result


@pytest.mark.parametrize("radius", [1.5, 2.5])
@pytest.mark.parametrize("seed", range(50, 56))
def test_it_is_torchvisions(seed: int, radius: float) -> None:
    scene = draw_scene(seed, (9, 3, 0), 10, whole=seed % 2 == 0)
    found = owners(CentreSamplingAssigner(radius), scene)
    for boxes, labels, objects in zip(scene.gt_boxes, scene.gt_labels, found):
        real = (labels >= 0).nonzero().squeeze(1)
        theirs = matched(boxes[real], radius)
        assert torch.equal(objects, real[theirs.clamp(min=0)].where(theirs >= 0, -1) if len(real) else theirs)
        assert bool((objects >= 0).any()) == bool(len(real))


def test_every_level_is_reached() -> None:
    sides = ((5, 30), (9, 90), (3, 180), (1, 350), (0, 900))
    boxes = torch.tensor([[[x, 20.0, x + side, 20 + side] for x, side in sides]])
    scene = Scene(draw_outputs(0, 1, 2), boxes, torch.zeros(1, 5, dtype=torch.int64))
    found = owners(CentreSamplingAssigner(radius=3.0), scene)[0]
    assert torch.equal(found, matched(boxes[0], 3.0))
    assert sum(bool((part >= 0).any()) for part in found.split(SIZES)) >= 3


def test_anchors_of_any_scale() -> None:
    """Only their centres count."""
    scene = draw_scene(50, (9, 3), 10)
    rule = CentreSamplingAssigner()
    small = paa.assign(scene.outputs, make_anchors(LEVEL_SIZES, scale=2), *scene[1:], assigner=rule)
    assert torch.equal(small.objects(len(ANCHORS)), owners(rule, scene))
