"""scipy's assignment on the whole matrix of costs, with MMDetection's costs in golden numbers."""

from __future__ import annotations

import sys

import pytest
import torch
from scipy.optimize import linear_sum_assignment

import paa
from paa.assigners import OneToOneAssigner
from paa.core import HeadOutputs, decode, giou, make_anchors
from paa.errors import ConfigError
from tests.assigners.goldens import golden, golden_scene
from tests.assigners.rules import assign, owners
from tests.scenes import ANCHORS, HEIGHT, WIDTH, draw_boxes, draw_scene


def test_it_is_scipys_on_mmdetections_costs() -> None:
    expected = golden("one_to_one")
    assert (expected >= 0).sum() == (golden_scene().gt_labels >= 0).sum()
    assert torch.equal(owners(OneToOneAssigner(), golden_scene()), expected)


@pytest.mark.parametrize("weights", [(1.0, 5.0, 2.0), (2.0, 0.0, 1.0)])
def test_the_sum_of_the_costs_is_the_least(weights: tuple[float, float, float]) -> None:
    scene = draw_scene(60, (11, 4), 12)
    found = assign(OneToOneAssigner(*weights), scene)
    assert torch.equal(found.num_positives, (scene.gt_labels >= 0).long())
    size = torch.tensor([WIDTH, HEIGHT]).repeat(2)
    for i in range(2):
        real = (scene.gt_labels[i] >= 0).nonzero().squeeze(1)
        boxes, predicted = scene.gt_boxes[i, real], decode(scene.outputs.deltas[i], ANCHORS)

        def sides(boxes: torch.Tensor) -> torch.Tensor:
            return torch.cat([(boxes[:, 2:] + boxes[:, :2]) / 2, boxes[:, 2:] - boxes[:, :2]], 1) / size

        costs = -weights[0] * scene.outputs.cls_logits[i].sigmoid()[:, scene.gt_labels[i, real]].T
        costs = costs + weights[1] * torch.cdist(sides(boxes), sides(predicted), p=1)
        costs = costs - weights[2] * giou(boxes[:, None], predicted)
        rows, columns = linear_sum_assignment(costs)
        assert torch.equal(found.anchors[i, real, 0], torch.from_numpy(columns))
        torch.testing.assert_close(found.scores[i, real, 0], costs[rows, columns], rtol=1e-4, atol=1e-5)


def test_more_objects_than_anchors() -> None:
    sizes = ((1, 2), (1, 1))
    outputs = HeadOutputs(torch.zeros(1, 3, 2), torch.zeros(1, 3, 4), torch.zeros(1, 3), sizes)
    boxes, anchors = draw_boxes(1, 5)[None], make_anchors(sizes, (8, 16))
    found = paa.assign(outputs, anchors, boxes, torch.zeros(1, 5).long(), assigner=OneToOneAssigner())
    assert found.num_positives.sum() == 3
    assert sorted(found.objects(3)[0].tolist())[0] >= 0


def test_scipy_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ConfigError, match=r"one-to-one: scipy is not installed: pip install 'paa\[matching\]'"):
        OneToOneAssigner()
