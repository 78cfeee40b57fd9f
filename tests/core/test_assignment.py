"""The rules in plain Python, one object after the other, against all objects of all images at once."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from paa.core import Assignment, PaaAssigner, candidates_per_object, match
from tests.core.test_mixture import CLOSE, fit_one
from tests.scenes import ANCHORS, LEVEL_SIZES, Scene, draw_boxes, draw_scene

STARTS = [0, 384, 480, 504, 510, 512]
NUM_ANCHORS = 512


def scenes() -> list[Scene]:
    """Whole-number corners, so that an IoU is one division of exact numbers."""
    drawn = [
        draw_scene(1, (0, 0), 3, whole=True),
        draw_scene(2, (1, 0), 1, whole=True),
        draw_scene(3, (1, 4), 9, whole=True),
        draw_scene(4, (7, 20), 30, whole=True),
        draw_scene(5, (300, 3), 300, whole=True),
    ]
    twins = draw_scene(6, (6, 6), 8, whole=True)
    twins.gt_boxes[0, twins.gt_labels[0] >= 0] = twins.gt_boxes[0, twins.gt_labels[0] >= 0][[0, 0, 1, 1, 2, 3]]
    touching = draw_scene(8, (5, 5), 5, whole=True)
    touching.gt_boxes[0] = torch.tensor([[8.0 * i, 8.0 * i, 8.0 * i + 64, 8.0 * i + 64] for i in range(5)])
    tiny = draw_scene(9, (3, 2), 4, whole=True)
    tiny.gt_boxes[..., 2:] = tiny.gt_boxes[..., :2] + 2
    return [*drawn, twins, touching, tiny]


SCENES = scenes()


def plain_iou(a: list[float], b: list[float]) -> np.float32:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return np.float32(0)
    shared = width * height
    return np.float32(shared) / np.float32((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def plain_match(boxes: list[list[float]], labels: list[int]) -> list[int]:
    """Each anchor to the object of highest IoU if that is >= 0.1; then every object's best anchors get theirs back."""
    objects = [g for g, label in enumerate(labels) if label >= 0]
    overlaps = {(g, n): plain_iou(boxes[g], anchor) for g in objects for n, anchor in enumerate(ANCHORS.tolist())}
    result = [-1] * NUM_ANCHORS
    if not objects:
        return result
    own = [max(objects, key=lambda g: overlaps[g, n]) for n in range(NUM_ANCHORS)]
    for n in range(NUM_ANCHORS):
        if overlaps[own[n], n] >= np.float32(0.1):
            result[n] = own[n]
    for g in objects:
        best = max(overlaps[g, n] for n in range(NUM_ANCHORS))
        for n in range(NUM_ANCHORS):
            if best > 0 and overlaps[g, n] == best:
                result[n] = own[n]
    return result


def plain_candidates(matches: list[int], scores: list[float], num_objects: int) -> list[list[int]]:
    """On each level the 9 matched anchors of lowest score; all of them by score."""
    result = []
    for g in range(num_objects):
        chosen: list[int] = []
        for start, end in pairwise(STARTS):
            chosen += sorted((n for n in range(start, end) if matches[n] == g), key=lambda n: scores[n])[:9]
        result.append(sorted(chosen, key=lambda n: scores[n]))
    return result


def draw_scores(seed: int) -> Tensor:
    return torch.rand(2, NUM_ANCHORS, generator=torch.Generator().manual_seed(seed)).square() * 3


def assigned(scene: Scene, scores: Tensor) -> Assignment:
    """Return what the paper's rule makes of a scene, with the scores (B, N) as the cost of every matched anchor."""
    return PaaAssigner()(scene.outputs, ANCHORS, scene.gt_boxes, scene.gt_labels, lambda matches: scores)


@pytest.mark.parametrize("scene", SCENES, ids=range(len(SCENES)))
@pytest.mark.parametrize("pairs_at_once", [1 << 21, 4000, 1])  # all objects at once, some, one at a time
def test_match_is_the_rule(scene: Scene, pairs_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paa.core.assignment._PAIRS_AT_ONCE", pairs_at_once)
    matches = match(ANCHORS, scene.gt_boxes, scene.gt_labels)
    assert matches.dtype == torch.int64
    expected = [plain_match(b, labels) for b, labels in zip(scene.gt_boxes.tolist(), scene.gt_labels.tolist())]
    assert matches.tolist() == expected


@pytest.mark.parametrize("scene", SCENES, ids=range(len(SCENES)))
def test_candidates_and_positives_are_the_rule(scene: Scene) -> None:
    matches, scores = match(ANCHORS, scene.gt_boxes, scene.gt_labels), draw_scores(len(SCENES))
    slots = scene.gt_labels.shape[1]
    anchors, best, number = candidates_per_object(scores, matches, slots, STARTS)
    assignment = assigned(scene, scores)
    assert torch.equal(assignment.scores, best)
    assert torch.equal(assignment.num_candidates, number)
    assert torch.equal(assignment.anchors, anchors)
    assert anchors.shape == best.shape == (2, slots, 45)
    sure = 0
    for image in range(2):
        expected = plain_candidates(matches[image].tolist(), scores[image].tolist(), slots)
        for g, own in enumerate(expected):
            count, positives = int(number[image, g]), int(assignment.num_positives[image, g])
            assert anchors[image, g, :count].tolist() == own
            assert best[image, g, :count].tolist() == scores[image, own].tolist()
            assert (best[image, g, count:] == torch.inf).all()
            if count < 2:
                assert positives == count
                continue
            _, expected_positives, stop, margin = fit_one(scores[image, own].numpy())
            if min(stop, margin) >= CLOSE:
                sure += 1
                assert positives == expected_positives
    assert sure >= 0.8 * int((number >= 2).sum())


@pytest.mark.parametrize("scene", SCENES, ids=range(len(SCENES)))
def test_every_object_has_a_chance(scene: Scene) -> None:
    matches = match(ANCHORS, scene.gt_boxes, scene.gt_labels)
    assignment = assigned(scene, draw_scores(1))
    for image in range(2):
        for g, label in enumerate(scene.gt_labels[image].tolist()):
            number = int(assignment.num_candidates[image, g])
            if label < 0:
                assert number == 0
                continue
            overlaps = [plain_iou(scene.gt_boxes[image, g].tolist(), anchor) for anchor in ANCHORS.tolist()]
            fitting = [n for n, overlap in enumerate(overlaps) if overlap == max(overlaps)]
            taken = all(matches[image, n] != g for n in fitting)
            assert number >= 1 or taken
            assert (matches[image, fitting] >= 0).all()
            if taken:  # then by an object that fits at least as well
                owners = matches[image, fitting].tolist()
                assert all(
                    plain_iou(scene.gt_boxes[image, owner].tolist(), ANCHORS[n].tolist()) >= max(overlaps)
                    for owner, n in zip(owners, fitting)
                )
    assert (assignment.num_positives <= assignment.num_candidates).all()
    assert ((assignment.num_positives > 0) == (assignment.num_candidates > 0)).all()


def test_objects_that_nothing_can_touch_have_no_candidates() -> None:
    boxes = torch.tensor([[[50.0, 50.0, 50.0, 50.0], [9e5, 9e5, 9e5 + 9, 9e5 + 9], [40.0, 40.0, 100.0, 100.0]]])
    matches = match(ANCHORS, boxes, torch.zeros(1, 3, dtype=torch.int64))
    assert set(matches.unique().tolist()) == {-1, 2}


def test_the_threshold_counts() -> None:
    box = torch.tensor([[[0.0, 0.0, 64.0, 64.0]]])
    labels = torch.zeros(1, 1, dtype=torch.int64)
    overlaps = torch.tensor([plain_iou(box[0, 0].tolist(), anchor) for anchor in ANCHORS.tolist()])
    for threshold in (0.0, 0.1, 0.3, 0.9):
        expected = (overlaps >= threshold) | (overlaps == overlaps.max())
        assert torch.equal(match(ANCHORS, box, labels, threshold)[0] == 0, expected)


def test_order_of_the_objects_does_not_matter() -> None:
    scene = draw_scene(11, (25, 40), 40)
    scores, order = draw_scores(2), torch.randperm(40, generator=torch.Generator().manual_seed(0))
    matches = match(ANCHORS, scene.gt_boxes, scene.gt_labels)
    permuted = match(ANCHORS, scene.gt_boxes[:, order], scene.gt_labels[:, order])
    assert torch.equal(torch.where(permuted >= 0, order[permuted], -1), matches)
    before = assigned(scene, scores)
    after = assigned(scene._replace(gt_boxes=scene.gt_boxes[:, order], gt_labels=scene.gt_labels[:, order]), scores)
    assert torch.equal(after.num_candidates, before.num_candidates[:, order])
    assert torch.equal(after.num_positives, before.num_positives[:, order])
    assert torch.equal(after.scores, before.scores[:, order])
    objects = after.objects(NUM_ANCHORS)
    assert torch.equal(torch.where(objects >= 0, order[objects], -1), before.objects(NUM_ANCHORS))


def test_empty_slots_do_not_matter() -> None:
    scene = draw_scene(12, (5, 5), 5)
    wide_boxes, wide_labels = torch.full((2, 12, 4), 60.0), torch.full((2, 12), -1)
    wide_boxes[..., 2:] = 90.0  # an empty slot may hold any numbers, also a box
    places = torch.tensor([1, 4, 5, 9, 11])
    wide_boxes[:, places], wide_labels[:, places] = scene.gt_boxes, scene.gt_labels
    matches, wide = match(ANCHORS, scene.gt_boxes, scene.gt_labels), match(ANCHORS, wide_boxes, wide_labels)
    assert torch.equal(torch.where(matches >= 0, places[matches], -1), wide)
    scores, wide_scene = draw_scores(3), scene._replace(gt_boxes=wide_boxes, gt_labels=wide_labels)
    assert torch.equal(assigned(wide_scene, scores).num_positives[:, places], assigned(scene, scores).num_positives)


def test_images_do_not_affect_each_other() -> None:
    scene, scores = draw_scene(13, (12, 30), 30), draw_scores(4)
    both = assigned(scene, scores).objects(NUM_ANCHORS)
    for p in range(2):
        image = slice(p, p + 1)
        alone = scene._replace(gt_boxes=scene.gt_boxes[image], gt_labels=scene.gt_labels[image])
        assert torch.equal(assigned(alone, scores[image]).objects(NUM_ANCHORS), both[image])


@pytest.mark.parametrize("scene", SCENES, ids=range(len(SCENES)))
def test_objects_is_the_positives_seen_from_the_anchors(scene: Scene) -> None:
    matches = match(ANCHORS, scene.gt_boxes, scene.gt_labels)
    assignment = assigned(scene, draw_scores(5))
    positive = assignment.is_positive()
    assert torch.equal(positive.sum(2), assignment.num_positives)
    assert (positive.int().diff(dim=2) <= 0).all()
    objects = assignment.objects(NUM_ANCHORS)
    expected = [[-1] * NUM_ANCHORS for _ in range(2)]
    for image, g, slot in positive.nonzero().tolist():
        expected[image][assignment.anchors[image, g, slot]] = g
    assert objects.tolist() == expected
    assert ((objects == -1) | (objects == matches)).all()
    assert int((objects >= 0).sum()) == int(assignment.num_positives.sum())  # no anchor for two objects


def test_objects_by_hand() -> None:
    assignment = Assignment(
        torch.tensor([[[3, 1, 0], [5, 0, 0], [0, 0, 0]]]),
        torch.zeros(1, 3, 3),
        torch.tensor([[3, 2, 0]]),
        torch.tensor([[2, 1, 0]]),
    )
    assert assignment.objects(6).tolist() == [[-1, 0, -1, 0, -1, 1]]


def test_the_same_box_twice_goes_to_the_first() -> None:
    box = draw_boxes(0, 1)[0]
    matches = match(ANCHORS, box.expand(1, 2, 4), torch.tensor([[0, 1]]))
    assert set(matches.unique().tolist()) == {-1, 0}
    assert np.cumsum([rows * columns for rows, columns in LEVEL_SIZES]).tolist() == STARTS[1:]
