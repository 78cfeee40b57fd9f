"""The three losses against torchvision's functions, and what must hold for all images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torchvision.ops import box_iou, generalized_box_iou_loss, sigmoid_focal_loss

from paa.core import assignment
from paa.core.anchors import make_anchors
from paa.core.assignment import PaaAssigner, match
from paa.core.boxes import decode, encode
from paa.core.losses import (
    LossResult,
    LossWeights,
    _cost,
    _focal_difference,
    _negative_focal,
    paa_losses,
)
from paa.core.outputs import HeadOutputs
from tests.scenes import ANCHORS, LEVEL_SIZES, Scene, draw_outputs, draw_scene

NAMES = ("classification", "box", "iou")
PAPER = LossWeights()


def with_gradients(outputs: HeadOutputs) -> HeadOutputs:
    tensors = (t.detach().clone().requires_grad_() for t in outputs[:3])
    return HeadOutputs(*tensors, outputs.level_sizes)


def gradients(outputs: HeadOutputs) -> list[Tensor]:
    return [torch.zeros_like(t) if t.grad is None else t.grad for t in outputs[:3]]


def run(scene: Scene, **settings: Any) -> tuple[LossResult, list[Tensor]]:
    """Return the losses of a scene and the gradients of their sum."""
    outputs = with_gradients(scene.outputs)
    result = paa_losses(outputs, ANCHORS, scene.gt_boxes, scene.gt_labels, **settings)
    torch.stack(list(result.losses.values())).sum().backward()
    return result, gradients(outputs)


def naive_losses(outputs: HeadOutputs, scene: Scene, objects: Tensor, weights: LossWeights = PAPER) -> list[Tensor]:
    """One image after the other, given the object of each anchor (B, N)."""
    classification, box, confidence = [], [], []
    count, mass = max(int((objects >= 0).sum()), 1), []
    for cls_logits, deltas, iou_logits, boxes, labels, owner in zip(
        *outputs[:3], scene.gt_boxes, scene.gt_labels, objects
    ):
        positive = (owner >= 0).nonzero()[:, 0]
        target = torch.zeros_like(cls_logits)
        target[positive, labels[owner[positive]]] = 1
        classification.append(sigmoid_focal_loss(cls_logits, target, weights.alpha, weights.gamma, "sum"))
        predicted, truth = decode(deltas[positive], ANCHORS[positive]), boxes[owner[positive]]
        overlap = box_iou(predicted.detach(), truth).diagonal() if len(positive) else truth[:, 0]
        box.append((overlap * generalized_box_iou_loss(predicted, truth)).sum())
        confidence.append(F.binary_cross_entropy_with_logits(iou_logits[positive], overlap, reduction="sum"))
        mass.append(overlap.sum())
    total = torch.stack(mass).sum().clamp(min=1e-12)
    sums = [torch.stack(parts).sum() for parts in (classification, box, confidence)]
    return [sums[0] / count, weights.box * sums[1] / total, weights.iou * sums[2] / count]


COUNTS = [(0, 0), (1, 0), (1, 1), (5, 0), (0, 12), (20, 7), (300, 2)]


@pytest.mark.parametrize("counts", COUNTS, ids=str)
@pytest.mark.parametrize(
    "weights",
    [PAPER, LossWeights(alpha=0.6, gamma=1.5, box=2.0, iou=0.25), LossWeights(alpha=0.5, gamma=0.0)],
    ids=["paper", "others", "cross-entropy"],
)
def test_losses_and_gradients_are_torchvisions(counts: tuple[int, int], weights: LossWeights) -> None:
    scene = draw_scene(sum(counts), counts, max(*counts, 1) + 2)
    result, ours = run(scene, weights=weights)
    objects = result.assignment.objects(len(ANCHORS))
    outputs = with_gradients(scene.outputs)
    expected = naive_losses(outputs, scene, objects, weights)
    torch.stack(expected).sum().backward()
    assert tuple(result.losses) == NAMES
    assert result.num_positives.item() == (objects >= 0).sum().item()
    for name, value in zip(NAMES, expected):
        torch.testing.assert_close(result.losses[name], value, rtol=2e-5, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}")
    for gradient, reference in zip(ours, gradients(outputs)):
        torch.testing.assert_close(gradient, reference, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("counts", [(1, 0), (20, 7), (300, 2)], ids=str)
def test_the_cost_is_focal_plus_giou_of_matched_anchors(counts: tuple[int, int]) -> None:
    scene = draw_scene(3, counts, max(counts))
    outputs, labels, boxes = scene.outputs, scene.gt_labels, scene.gt_boxes
    matches = match(ANCHORS, boxes, labels)
    scores = _cost(outputs, _negative_focal(outputs.cls_logits, PAPER), ANCHORS, matches, boxes, labels, PAPER, False)
    assert scores.shape == matches.shape
    for image, anchor in (matches >= 0).nonzero().tolist():
        owner = matches[image, anchor]
        target = F.one_hot(labels[image, owner], 3).float()
        focal = sigmoid_focal_loss(outputs.cls_logits[image, anchor], target, 0.25, 2.0, "sum")
        predicted = decode(outputs.deltas[image, anchor], ANCHORS[anchor])
        expected = focal + generalized_box_iou_loss(predicted, boxes[image, owner])
        torch.testing.assert_close(scores[image, anchor], expected, rtol=1e-4, atol=1e-5)


FOCAL = pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.6, 0.5), (0.4, 3.0), (0.5, 0.0)])


@FOCAL
def test_focal_loss_is_torchvisions(alpha: float, gamma: float) -> None:
    weights = LossWeights(alpha, gamma)
    logits = torch.randn(50, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 4
    nothing = sigmoid_focal_loss(logits, torch.zeros_like(logits), alpha, gamma)
    torch.testing.assert_close(_negative_focal(logits, weights), nothing.sum(1), rtol=1e-10, atol=1e-14)
    something = sigmoid_focal_loss(logits, torch.ones_like(logits), alpha, gamma)
    torch.testing.assert_close(_focal_difference(logits, weights), something - nothing, rtol=1e-10, atol=1e-12)


@FOCAL
def test_negative_focal_has_the_gradients_of_its_value(alpha: float, gamma: float) -> None:
    """The first derivative, which is computed by hand, and the second, which a saved first one would lack."""
    weights = LossWeights(alpha, gamma)
    logits = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 5
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: _negative_focal(x, weights), (logits,))
    assert torch.autograd.gradgradcheck(lambda x: _negative_focal(x, weights), (logits,))
    rows = torch.arange(6.0, dtype=torch.float64)  # each row's gradient is scaled by the one that arrives
    (_negative_focal(logits, weights) * rows).sum().backward()
    reference = logits.detach().clone().requires_grad_()
    loss = sigmoid_focal_loss(reference, torch.zeros_like(reference), alpha, gamma).sum(1)
    (loss * rows).sum().backward()
    torch.testing.assert_close(logits.grad, reference.grad, rtol=1e-9, atol=1e-12)


def test_a_penalty_on_the_gradient_has_its_whole_gradient() -> None:
    """Of the class logits, whose second derivative autograd alone would not see."""
    scene = draw_scene(14, (5, 2), 5)
    outputs = with_gradients(scene.outputs)
    result = paa_losses(outputs, ANCHORS, scene.gt_boxes, scene.gt_labels)
    reference = with_gradients(scene.outputs)
    expected = naive_losses(reference, scene, result.assignment.objects(len(ANCHORS)))[0]
    penalties = []
    for logits, loss in ((outputs.cls_logits, result.losses["classification"]), (reference.cls_logits, expected)):
        (gradient,) = torch.autograd.grad(loss, logits, create_graph=True)
        (second,) = torch.autograd.grad(gradient.square().sum(), logits)
        penalties.append(second)
    torch.testing.assert_close(penalties[0], penalties[1], rtol=1e-3, atol=1e-9)


def test_negative_focal_leaves_its_input_alone() -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(2))
    before = logits.clone()
    with torch.no_grad():
        plain = _negative_focal(logits, PAPER)
    recorded = logits.clone().requires_grad_()
    assert torch.equal(_negative_focal(recorded, PAPER), plain)
    assert torch.equal(logits, before)
    assert torch.equal(recorded.detach(), before)


@pytest.mark.parametrize("value", [50.0, -50.0, 1e4, -1e4, 0.0])
def test_extreme_logits(value: float) -> None:
    scene = draw_scene(4, (3, 5), 6)
    for field in ("cls_logits", "iou_logits", "deltas"):
        outputs = scene.outputs._replace(**{field: torch.full_like(getattr(scene.outputs, field), value)})
        result, gradient = run(scene._replace(outputs=outputs))
        for name, loss in result.losses.items():
            assert torch.isfinite(loss), (field, name)
            assert loss >= 0, (field, name)
        assert all(torch.isfinite(g).all() for g in gradient), field
    logits = torch.tensor([[value]], requires_grad=True)
    _negative_focal(logits, PAPER).sum().backward()
    expected = {0.0: 0.75 * (0.25 * 0.6931472 + 0.125)}.get(value, 0.75 if value > 0 else 0.0)
    assert logits.grad.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("slots", [0, 1, 4])
def test_no_object_is_ordinary_input(slots: int) -> None:
    outputs = draw_outputs(5, 2, 3)
    scene = Scene(outputs, torch.zeros(2, slots, 4), torch.full((2, slots), -1))
    result, (cls_gradient, deltas_gradient, iou_gradient) = run(scene)
    everything = sigmoid_focal_loss(outputs.cls_logits, torch.zeros(2, 512, 3), 0.25, 2.0, "sum")
    torch.testing.assert_close(result.losses["classification"], everything)  # one positive at least in the divisor
    assert (cls_gradient > 0).all()  # everything is pushed down
    for name in ("box", "iou"):
        assert result.losses[name].item() == 0
        assert result.losses[name].requires_grad
    assert (deltas_gradient == 0).all()
    assert (iou_gradient == 0).all()
    assert result.num_positives.item() == 0
    assert (result.assignment.num_candidates == 0).all()
    assert (result.assignment.objects(512) == -1).all()


def test_perfect_predictions_cost_no_box_loss() -> None:
    scene = draw_scene(6, (1, 1), 1)
    deltas = torch.stack([encode(boxes, ANCHORS) for boxes in scene.gt_boxes])
    result, _ = run(scene._replace(outputs=scene.outputs._replace(deltas=deltas)))
    assert result.losses["box"].item() == pytest.approx(0, abs=1e-5)
    assert result.num_positives > 0


def test_predictions_that_miss_everything_cost_no_box_loss_and_no_nan() -> None:
    scene = draw_scene(7, (2, 2), 2)
    far = torch.full_like(scene.outputs.deltas, 0.0)
    far[..., :2] = 500.0
    result, gradient = run(scene._replace(outputs=scene.outputs._replace(deltas=far)))
    assert result.losses["box"].item() == 0
    assert all(torch.isfinite(g).all() for g in gradient)


def test_empty_slots_change_nothing() -> None:
    scene = draw_scene(8, (4, 6), 6)
    boxes, labels = torch.rand(2, 15, 4) * 100, torch.full((2, 15), -1)
    places = torch.tensor([0, 3, 4, 8, 12, 14])
    boxes[:, places], labels[:, places] = scene.gt_boxes, scene.gt_labels
    result, gradient = run(scene)
    padded, padded_gradient = run(scene._replace(gt_boxes=boxes, gt_labels=labels))
    for name in NAMES:
        torch.testing.assert_close(padded.losses[name], result.losses[name], rtol=1e-6, atol=0)
    for ours, theirs in zip(gradient, padded_gradient):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-8)


def test_two_processes_with_half_of_the_batch_each_are_one_with_all() -> None:
    scene = draw_scene(9, (12, 0, 3, 7), 14)
    whole, gradient = run(scene)
    halves = []
    for half in (slice(0, 2), slice(2, 4)):
        outputs = HeadOutputs(*(t[half] for t in scene.outputs[:3]), LEVEL_SIZES)
        halves.append(Scene(outputs, scene.gt_boxes[half], scene.gt_labels[half]))
    seen: list[Tensor] = []

    def remember(values: Tensor) -> Tensor:
        seen.append(values.detach())
        return values

    for half in halves:
        paa_losses(half.outputs, ANCHORS, half.gt_boxes, half.gt_labels, average=remember)
    mean = (seen[0] + seen[1]) / 2
    assert seen[0].shape == (2,)
    assert seen[0][0] != seen[1][0]
    parts, part_gradients = [], []
    for half in halves:
        outputs = with_gradients(half.outputs)
        result = paa_losses(outputs, ANCHORS, half.gt_boxes, half.gt_labels, average=lambda values: mean)
        assert result.num_positives == mean[0]
        torch.stack(list(result.losses.values())).sum().backward()
        parts.append(result.losses)
        part_gradients.append([g / 2 for g in gradients(outputs)])  # as DistributedDataParallel averages
    for name in NAMES:
        torch.testing.assert_close((parts[0][name] + parts[1][name]) / 2, whole.losses[name], rtol=1e-5, atol=0)
    for ours, *theirs in zip(gradient, *part_gradients):
        torch.testing.assert_close(torch.cat(theirs), ours, rtol=1e-4, atol=1e-8)


def test_the_normalisers_are_the_positives_and_the_sum_of_their_overlaps() -> None:
    scene = draw_scene(10, (5, 2), 5)
    plain = paa_losses(scene.outputs, ANCHORS, scene.gt_boxes, scene.gt_labels).losses
    doubled = paa_losses(scene.outputs, ANCHORS, scene.gt_boxes, scene.gt_labels, average=lambda v: v * 2).losses
    for name in NAMES:
        torch.testing.assert_close(doubled[name] * 2, plain[name])


def test_the_numbers_are_the_papers() -> None:
    assert LossWeights() == LossWeights(alpha=0.25, gamma=2.0, box=1.3, iou=0.5)
    assert PaaAssigner() == PaaAssigner(match_iou=0.1, per_level=9)


def test_half_precision_is_computed_in_float32() -> None:
    scene = draw_scene(11, (5, 2), 5)
    outputs = HeadOutputs(*(t.bfloat16() for t in scene.outputs[:3]), LEVEL_SIZES)
    result, gradient = run(scene._replace(outputs=outputs))
    rounded = HeadOutputs(*(t.float() for t in outputs[:3]), LEVEL_SIZES)
    expected, _ = run(scene._replace(outputs=rounded))
    for name in NAMES:
        assert result.losses[name].dtype == torch.float32
        assert result.losses[name] == expected.losses[name]
    assert all(g.dtype == torch.bfloat16 and torch.isfinite(g).all() for g in gradient)
    with torch.autocast("cpu", torch.bfloat16):
        inside, _ = run(scene)
    outside, _ = run(scene)
    for name in NAMES:
        torch.testing.assert_close(inside.losses[name], outside.losses[name], rtol=1e-5, atol=0)


def test_legacy_changes_the_boxes_only() -> None:
    scene = draw_scene(12, (5, 2), 5)
    new = paa_losses(scene.outputs, ANCHORS, scene.gt_boxes, scene.gt_labels)
    old = paa_losses(scene.outputs, ANCHORS, scene.gt_boxes, scene.gt_labels, legacy=True)
    assert new.num_positives > 0
    assert old.num_positives > 0
    assert new.losses["box"] != old.losses["box"]
    assert abs(old.losses["box"] / new.losses["box"] - 1) < 0.1


def test_no_value_of_a_tensor_is_read() -> None:
    """A value that the host reads, or a shape that depends on values, is an error for tensors without values."""
    with pytest.MonkeyPatch.context() as patch, FakeTensorMode():
        patch.setattr(assignment, "count_positives", lambda scores, count: count)  # one kernel, where it matters
        outputs = HeadOutputs(torch.zeros(2, 512, 3), torch.zeros(2, 512, 4), torch.zeros(2, 512), LEVEL_SIZES)
        outputs = with_gradients(outputs)
        labels = torch.zeros(2, 5, dtype=torch.int64)
        result = paa_losses(outputs, make_anchors(LEVEL_SIZES), torch.zeros(2, 5, 4), labels)
        torch.stack(list(result.losses.values())).sum().backward()
        assert outputs.deltas.grad.shape == (2, 512, 4)
        with pytest.raises(DataDependentOutputException):
            result.num_positives.item()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_host_does_not_wait_for_a_gpu() -> None:
    scene = draw_scene(13, (20, 7), 20)
    outputs = with_gradients(HeadOutputs(*(t.cuda() for t in scene.outputs[:3]), LEVEL_SIZES))
    anchors, boxes, labels = ANCHORS.cuda(), scene.gt_boxes.cuda(), scene.gt_labels.cuda()
    paa_losses(outputs, anchors, boxes, labels)
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = paa_losses(outputs, anchors, boxes, labels)
        torch.stack(list(result.losses.values())).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected, _ = run(scene)
    for name in NAMES:
        torch.testing.assert_close(result.losses[name].cpu(), expected.losses[name], rtol=1e-4, atol=1e-6)
