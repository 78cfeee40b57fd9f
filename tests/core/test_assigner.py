"""Rules that are not in the package take the place of the paper's: in the losses, compiled, and in training."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

import paa
from paa.config import ModelConfig
from paa.core import (
    Assigner,
    Assignment,
    Cost,
    HeadOutputs,
    LossWeights,
    PaaAssigner,
    candidates_per_object,
    iou,
    match,
    paa_losses,
)
from paa.model.detector import Detector
from tests.scenes import ANCHORS, LEVEL_SIZES, Scene, draw_scene


def iou_rule(outputs: HeadOutputs, anchors: Tensor, gt_boxes: Tensor, gt_labels: Tensor, cost: Cost) -> Assignment:
    """RetinaNet's: an anchor is positive for the object of highest IoU, if that is 0.5; here at most 20 an object."""
    overlap = iou(gt_boxes[:, :, None], anchors).masked_fill((gt_labels < 0)[..., None], -1)
    owner = overlap.argmax(1, keepdim=True)
    objects = torch.arange(gt_labels.shape[1], device=owner.device)[:, None]
    quality, chosen = torch.where(owner == objects, overlap, -1).topk(20)
    scores = torch.where(quality > 0, 1 - quality, torch.inf)
    return Assignment(chosen, scores, (quality > 0).sum(2), (quality >= 0.5).sum(2))


def fixed_number(outputs: HeadOutputs, anchors: Tensor, gt_boxes: Tensor, gt_labels: Tensor, cost: Cost) -> Assignment:
    """The paper's rule without the mixture: the nine candidates of lowest cost are positive."""
    matches = match(anchors, gt_boxes, gt_labels)
    chosen, scores, count = candidates_per_object(cost(matches), matches, gt_labels.shape[1], outputs.level_starts())
    return Assignment(chosen, scores, count, count.clamp(max=9))


RULES: dict[str, Assigner] = {"iou": iou_rule, "fixed number": fixed_number, "match_iou": PaaAssigner(0.3, 4)}


def losses_of(scene: Scene, assigner: Assigner) -> tuple[dict[str, Tensor], Tensor]:
    """Return the losses and the gradient of the class logits."""
    logits = scene.outputs.cls_logits.clone().requires_grad_()
    outputs = scene.outputs._replace(cls_logits=logits)
    losses = paa_losses(outputs, ANCHORS, scene.gt_boxes, scene.gt_labels, assigner=assigner).losses
    sum(losses.values()).backward()
    return losses, logits.grad


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("counts", [(5, 2), (0, 3), (0, 0)])
def test_the_losses_are_of_the_rules_positives(rule: str, counts: tuple[int, int]) -> None:
    scene = draw_scene(20, counts, 6)
    result = paa_losses(scene.outputs, ANCHORS, scene.gt_boxes, scene.gt_labels, assigner=RULES[rule])
    assignment = paa.assign(scene.outputs, ANCHORS, scene.gt_boxes, scene.gt_labels, assigner=RULES[rule])
    for ours, expected in zip(assignment[:4], result.assignment[:4]):
        assert torch.equal(ours, expected)
    assert result.num_positives == assignment.num_positives.sum()
    assert (assignment.num_positives[scene.gt_labels < 0] == 0).all()
    assert bool(result.num_positives > 0) == bool(sum(counts))
    paper = paa.assign(scene.outputs, ANCHORS, scene.gt_boxes, scene.gt_labels)
    assert torch.equal(assignment.objects(len(ANCHORS)), paper.objects(len(ANCHORS))) == (sum(counts) == 0)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_compiles(rule: str) -> None:
    scene = draw_scene(21, (5, 2), 6)
    logits = scene.outputs.cls_logits.clone().requires_grad_()
    compiled = torch.compile(paa_losses, fullgraph=True, backend="aot_eager")
    losses = compiled(
        scene.outputs._replace(cls_logits=logits), ANCHORS, scene.gt_boxes, scene.gt_labels, assigner=RULES[rule]
    ).losses
    sum(losses.values()).backward()
    expected, gradient = losses_of(scene, RULES[rule])
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-5, atol=0)
    torch.testing.assert_close(logits.grad, gradient, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("rule", RULES)
def test_a_detector_trains_with_it(rule: str) -> None:
    """From images to steps of the optimizer, on one batch that it learns by heart."""
    torch.manual_seed(0)
    detector = Detector(ModelConfig(backbone="resnet18", norm="batch", channels=16, tower_depth=1), ("a", "b"))
    images = torch.zeros(2, 3, 128, 128, dtype=torch.uint8)
    images[0, :, 30:90, 20:100], images[1, 0, 10:100, 40:110] = 255, 200
    gt_boxes = torch.tensor([[[20.0, 30, 100, 90]], [[40.0, 10, 110, 100]]])
    gt_labels = torch.tensor([[0], [1]])
    optimizer = torch.optim.AdamW(detector.parameters(), lr=2e-3)
    totals = []
    for _ in range(12):
        outputs = detector(images, torch.full((2, 2), 128))
        result = paa_losses(outputs, detector.anchors(outputs), gt_boxes, gt_labels, assigner=RULES[rule])
        assert result.num_positives > 0
        total = torch.stack(list(result.losses.values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.7 * totals[0]


def test_the_assigner_computes_without_gradients_in_float32() -> None:
    seen = []

    def rule(outputs: HeadOutputs, *given: Tensor | Cost) -> Assignment:
        seen.append((torch.is_grad_enabled(), outputs.cls_logits.dtype))
        return PaaAssigner()(outputs, *given)

    scene = draw_scene(22, (3, 1), 3)
    halves = HeadOutputs(*(t.bfloat16().requires_grad_() for t in scene.outputs[:3]), LEVEL_SIZES)
    paa_losses(halves, ANCHORS, scene.gt_boxes, scene.gt_labels, assigner=rule)
    assert seen == [(False, torch.float32)]


def test_there_is_always_an_object_slot() -> None:
    """So that a rule need not think of reductions over nothing."""
    seen = []

    def rule(outputs: HeadOutputs, anchors: Tensor, gt_boxes: Tensor, gt_labels: Tensor, cost: Cost) -> Assignment:
        seen.append((gt_boxes.shape, gt_labels.tolist()))
        return iou_rule(outputs, anchors, gt_boxes, gt_labels, cost)

    scene = draw_scene(23, (0, 0), 0)
    paa_losses(scene.outputs, ANCHORS, scene.gt_boxes, scene.gt_labels, assigner=rule)
    assert seen == [((2, 1, 4), [[-1], [-1]])]


def test_the_cost_has_the_numbers_of_the_losses() -> None:
    scene = draw_scene(24, (4, 4), 4)
    costs = []

    def rule(outputs: HeadOutputs, anchors: Tensor, gt_boxes: Tensor, gt_labels: Tensor, cost: Cost) -> Assignment:
        costs.append(cost(match(anchors, gt_boxes, gt_labels)))
        return PaaAssigner()(outputs, anchors, gt_boxes, gt_labels, cost)

    for weights, legacy in ((LossWeights(), False), (LossWeights(gamma=1.0), False), (LossWeights(), True)):
        paa.assign(
            scene.outputs, ANCHORS, scene.gt_boxes, scene.gt_labels, assigner=rule, weights=weights, legacy=legacy
        )
    assert not torch.equal(costs[0], costs[1])
    assert not torch.equal(costs[0], costs[2])


def test_a_positive_of_weight_two_counts_as_two() -> None:
    scene = draw_scene(25, (5, 2), 6)

    def weighted(factor: float) -> Assigner:
        def rule(outputs: HeadOutputs, *given: Tensor | Cost) -> Assignment:
            assignment = PaaAssigner()(outputs, *given)
            return assignment._replace(weights=torch.full_like(assignment.scores, factor))

        return rule

    plain, _ = losses_of(scene, PaaAssigner())
    ones, _ = losses_of(scene, weighted(1.0))
    twos, _ = losses_of(scene, weighted(2.0))
    for name, value in plain.items():
        assert torch.equal(ones[name], value)
        if name != "classification":  # in which the background counts too
            torch.testing.assert_close(twos[name], value)
    result = paa_losses(scene.outputs, ANCHORS, scene.gt_boxes, scene.gt_labels, assigner=weighted(2.0))
    assert result.num_positives == 2 * result.assignment.num_positives.sum()


def test_an_ignored_anchor_counts_in_no_loss() -> None:
    scene = draw_scene(27, (5, 2), 6)
    ignored = torch.rand(2, len(ANCHORS), generator=torch.Generator().manual_seed(0)) < 0.3
    ignored &= paa.assign(*scene[:1], ANCHORS, *scene[1:]).objects(len(ANCHORS)) < 0

    def rule(outputs: HeadOutputs, *given: Tensor | Cost) -> Assignment:
        return PaaAssigner()(outputs, *given)._replace(ignored=ignored)

    plain, gradient = losses_of(scene, PaaAssigner())
    losses, without = losses_of(scene, rule)
    for name in ("box", "iou"):
        assert torch.equal(losses[name], plain[name])
    assert losses["classification"] < plain["classification"]
    assert ignored.any()
    assert (without[ignored] == 0).all()
    assert torch.equal(without[~ignored], gradient[~ignored])


def test_ignored_anchors_of_the_wrong_shape_are_named() -> None:
    def of_one_image(outputs: HeadOutputs, *given: Tensor | Cost) -> Assignment:
        return PaaAssigner()(outputs, *given)._replace(ignored=torch.zeros(len(ANCHORS), dtype=torch.bool))

    scene = draw_scene(26, (3, 1), 3)
    n = len(ANCHORS)
    expected = f"the assigner returned ignored ({n},) for 2 images of {n} anchors; expected one flag for each anchor"
    with pytest.raises(ValueError, match=re.escape(expected)):
        paa_losses(scene.outputs, ANCHORS, scene.gt_boxes, scene.gt_labels, assigner=of_one_image)


def test_a_result_of_the_wrong_shape_is_named() -> None:
    def without_images(outputs: HeadOutputs, *given: Tensor | Cost) -> Assignment:
        return Assignment(*(t[0] for t in PaaAssigner()(outputs, *given)[:4]))

    scene = draw_scene(26, (3, 1), 3)
    expected = (
        "the assigner returned anchors (3, 45) and num_positives (3,) for 2 images of 3 object slots; "
        "expected (2, 3, slots) and (2, 3)"
    )
    with pytest.raises(ValueError, match=re.escape(expected)):
        paa_losses(scene.outputs, ANCHORS, scene.gt_boxes, scene.gt_labels, assigner=without_images)


def test_weights_of_the_wrong_shape_are_named() -> None:
    def one_weight_for_an_object(outputs: HeadOutputs, *given: Tensor | Cost) -> Assignment:
        return PaaAssigner()(outputs, *given)._replace(weights=torch.ones(2, 3))

    scene = draw_scene(26, (3, 1), 3)
    expected = "the assigner returned weights (2, 3) for anchors (2, 3, 45); expected one weight for each anchor"
    with pytest.raises(ValueError, match=re.escape(expected)):
        paa_losses(scene.outputs, ANCHORS, scene.gt_boxes, scene.gt_labels, assigner=one_weight_for_an_object)


def test_a_result_that_is_no_assignment_is_named() -> None:
    def forgets_to_return(*given: HeadOutputs | Tensor | Cost) -> None:
        pass

    scene = draw_scene(26, (3, 1), 3)
    with pytest.raises(ValueError, match=re.escape("the assigner returned NoneType; expected a paa.core.Assignment")):
        paa_losses(
            scene.outputs,
            ANCHORS,
            scene.gt_boxes,
            scene.gt_labels,
            assigner=forgets_to_return,  # type: ignore[arg-type]
        )


def test_a_rule_without_slots_makes_everything_background() -> None:
    def no_slots(outputs: HeadOutputs, anchors: Tensor, gt_boxes: Tensor, gt_labels: Tensor, cost: Cost) -> Assignment:
        none = torch.zeros_like(gt_labels)
        return Assignment(none[..., None][..., :0], gt_boxes[..., :0], none, none)

    scene = draw_scene(26, (3, 1), 3)
    background = paa_losses(scene.outputs, ANCHORS, scene.gt_boxes, torch.full_like(scene.gt_labels, -1)).losses
    losses = paa_losses(scene.outputs, ANCHORS, scene.gt_boxes, scene.gt_labels, assigner=no_slots).losses
    assert losses.keys() == background.keys()
    for name, value in losses.items():
        torch.testing.assert_close(value, background[name])
