"""What holds for every rule: no anchor for two objects, images and objects apart from each other, finite losses."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
import torch.nn.functional as F

import paa
from paa.assigners import ASSIGNERS, BY_ANCHORS, make_assigner
from paa.config import AssignerName
from paa.core import HeadOutputs
from paa.errors import ConfigError
from tests.assigners.rules import assign, per_anchor
from tests.scenes import ANCHORS, Scene, draw_scene

SCENES = [draw_scene(30, (5, 2, 9), 9), draw_scene(31, (0, 3), 6), draw_scene(32, (0, 0), 2), draw_scene(33, (12,), 12)]

every_rule = pytest.mark.parametrize("name", ASSIGNERS)
every_scene = pytest.mark.parametrize("scene", SCENES, ids=lambda scene: f"{len(scene.gt_labels)} images")


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_names() -> None:
    assert list(ASSIGNERS) == list(get_args(AssignerName))
    with pytest.raises(ConfigError, match="unknown assigner 'otaa'; known: paa, highest-iou, centre-sampling, atss, "):
        make_assigner("otaa")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("highest-iou(foreground=0.3)", "background 0.4 and foreground 0.3 must be in this order, and at most 1"),
        ("highest-iou(foreground=1.5)", "background 0.4 and foreground 1.5 must be in this order, and at most 1"),
        ("centre-sampling(radius=0)", r"radius 0 must be above 0, and reach \(4, 8\) ascending"),
        ("centre-sampling(reach=(8, 4))", r"radius 1.5 must be above 0, and reach \(8, 4\) ascending"),
    ],
)
def test_numbers_that_make_no_sense_together(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^assigner {text.partition('(')[0]}: {message}$"):
        make_assigner(text)


@every_rule
@every_scene
def test_slots(name: str, scene: Scene) -> None:
    assignment, real = assign(make_assigner(name), scene), scene.gt_labels >= 0
    positive = assignment.is_positive()
    assert (assignment.num_positives[~real] == 0).all()
    assert (assignment.num_positives <= assignment.num_candidates).all()
    assert (assignment.num_candidates <= assignment.anchors.shape[2]).all()
    assert ((assignment.anchors >= 0) & (assignment.anchors < len(ANCHORS))).all()
    assert bool(positive.any()) == bool(real.any())
    scores = torch.where(positive, assignment.scores, torch.inf)
    assert (scores[..., 1:] >= scores[..., :-1]).all()
    assert scores[positive].isfinite().all()
    for anchors, of_image in zip(assignment.anchors, positive):
        own = anchors[of_image]
        assert len(own.unique()) == len(own)  # no anchor for two objects, and none twice
    facts = per_anchor(assignment)
    assert (facts["weight"][facts["object"] >= 0] > 0).all()
    assert not (facts["ignored"] & (facts["object"] >= 0)).any()


@every_rule
def test_which_rules_look_at_predictions(name: str) -> None:
    """Those of `BY_ANCHORS` need none."""
    scene = SCENES[0]
    nothing = HeadOutputs(None, None, None, scene.outputs.level_sizes)  # type: ignore[arg-type]
    given = (nothing, ANCHORS, scene.gt_boxes, scene.gt_labels, None)
    if name in BY_ANCHORS:
        assert make_assigner(name)(*given).num_positives.sum() > 0  # type: ignore[arg-type]
        return
    with pytest.raises((TypeError, AttributeError)):
        make_assigner(name)(*given)  # type: ignore[arg-type]


@every_rule
@every_scene
def test_an_image_alone_is_assigned_as_in_a_batch(name: str, scene: Scene) -> None:
    rule = make_assigner(name)
    together = per_anchor(assign(rule, scene))
    for i in range(len(scene.gt_labels)):
        outputs = HeadOutputs(*(t[i : i + 1] for t in scene.outputs[:3]), scene.outputs.level_sizes)
        alone = per_anchor(assign(rule, Scene(outputs, scene.gt_boxes[i : i + 1], scene.gt_labels[i : i + 1])))
        assert same(alone, {key: value[i : i + 1] for key, value in together.items()})


@every_rule
@every_scene
def test_empty_slots_change_nothing(name: str, scene: Scene) -> None:
    """Whatever box is in them."""
    boxes = F.pad(scene.gt_boxes, (0, 0, 0, 3), value=torch.nan)
    boxes[:, -1] = torch.tensor([0.0, 0, 100, 100])
    rule, wider = make_assigner(name), Scene(scene.outputs, boxes, F.pad(scene.gt_labels, (0, 3), value=-1))
    assert same(per_anchor(assign(rule, scene)), per_anchor(assign(rule, wider)))


@every_rule
@every_scene
def test_the_order_of_the_objects_changes_nothing(name: str, scene: Scene) -> None:
    order = torch.randperm(scene.gt_labels.shape[1], generator=torch.Generator().manual_seed(0))
    permuted = Scene(scene.outputs, scene.gt_boxes[:, order], scene.gt_labels[:, order])
    rule = make_assigner(name)
    before, after = (per_anchor(assign(rule, each)) for each in (scene, permuted))
    after["object"] = torch.where(after["object"] < 0, -1, order[after["object"]])
    assert same(before, after)


@every_rule
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_losses_and_gradients_are_finite(name: str, dtype: torch.dtype) -> None:
    for scene in SCENES:
        tensors = [t.to(dtype, copy=True).requires_grad_() for t in scene.outputs[:3]]
        outputs = HeadOutputs(*tensors, scene.outputs.level_sizes)
        anchors, boxes = ANCHORS.to(dtype), scene.gt_boxes.to(dtype)
        result = paa.paa_losses(outputs, anchors, boxes, scene.gt_labels, assigner=make_assigner(name))
        assert bool(result.num_positives > 0) == bool((scene.gt_labels >= 0).any())
        torch.stack(list(result.losses.values())).sum().backward()
        for tensor in tensors:
            assert tensor.grad is not None
            assert tensor.grad.isfinite().all()


@every_rule
def test_predictions_that_are_not_numbers_raise_nothing(name: str) -> None:
    """Training finds them by the losses, and names the images."""
    scene = SCENES[0]
    outputs = HeadOutputs(*(torch.full_like(t, torch.nan) for t in scene.outputs[:3]), scene.outputs.level_sizes)
    assign(make_assigner(name), Scene(outputs, scene.gt_boxes, scene.gt_labels))


@every_rule
def test_no_step_looks_at_values(name: str) -> None:
    """Tensors without values serve too, so that no rule copies to the host (one-to-one: but in its one operator)."""
    scene = draw_scene(30, (5, 2, 9), 9)
    outputs = HeadOutputs(*(t.to("meta") for t in scene.outputs[:3]), scene.outputs.level_sizes)
    given = ANCHORS.to("meta"), scene.gt_boxes.to("meta"), scene.gt_labels.to("meta")
    found, real = paa.assign(outputs, *given, assigner=make_assigner(name)), assign(make_assigner(name), scene)
    for ours, expected in zip(found, real):
        assert (ours is None) == (expected is None)
        if ours is not None and expected is not None:
            assert (ours.shape, ours.dtype) == (expected.shape, expected.dtype)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["simota", "one-to-one"])
def test_a_rule_compiles(name: str) -> None:
    """As one graph, whose shapes depend on no values."""
    scene, rule = SCENES[0], make_assigner(name)
    compiled = torch.compile(rule, fullgraph=True, backend="eager")
    found = compiled(scene.outputs, ANCHORS, scene.gt_boxes, scene.gt_labels, lambda matches: matches)
    assert torch.equal(found.objects(len(ANCHORS)), per_anchor(assign(rule, scene))["object"])
