"""Post-processing as loops over images, levels, classes and boxes, against all at once."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou, nms

from paa.core import postprocess
from paa.core.boxes import clip, decode, encode
from paa.core.outputs import HeadOutputs
from paa.core.postprocess import DetectedBatch, detect, score_voting
from paa.core.selection import _select_dense
from tests.scenes import ANCHORS, HEIGHT, LEVEL_SIZES, WIDTH, draw_outputs

STARTS = [0, 384, 480, 504, 510, 512]
SIZES = torch.tensor([[HEIGHT, WIDTH], [100, 150]])

Found = list[tuple[Tensor, float, int]]


def plain_vote(box: Tensor, candidates: Tensor, scores: Tensor) -> Tensor:
    x1, y1, x2, y2 = box.tolist()
    total, mass = [0.0] * 4, 0.0
    for other, score in zip(candidates.tolist(), scores.tolist()):
        width, height = min(x2, other[2]) - max(x1, other[0]), min(y2, other[3]) - max(y1, other[1])
        shared = max(width, 0) * max(height, 0)
        union = (x2 - x1) * (y2 - y1) + (other[2] - other[0]) * (other[3] - other[1]) - shared
        if shared / union > 0.01:
            weight = score * math.exp(-((1 - shared / union) ** 2) / 0.025)
            total, mass = [t + weight * side for t, side in zip(total, other)], mass + weight
    return torch.tensor([t / mass for t in total]) if mass > 0 else box


def plain_detect(
    outputs: HeadOutputs,
    voting: bool = True,
    threshold: float = 0.05,
    threshold_joint: bool = False,
    nms_iou: float = 0.6,
    limit: int = 100,
    per_level: int = 1000,
) -> list[Found]:
    """Return (box, score, label) of each image, best first."""
    batch = []
    for cls_logits, deltas, iou_logits, size in zip(*outputs[:3], SIZES):
        probability = cls_logits.sigmoid()
        score = (probability * iou_logits.sigmoid()[:, None]).sqrt()
        boxes = clip(decode(deltas, ANCHORS), size)
        passing = (score if threshold_joint else probability) > threshold
        passing &= ((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))[:, None]
        kept: list[tuple[float, int, int]] = []
        for level in range(5):
            inside = passing[STARTS[level] : STARTS[level + 1]].nonzero().tolist()
            ranked = [(float(score[STARTS[level] + row, label]), STARTS[level] + row, label) for row, label in inside]
            kept += sorted(ranked, reverse=True)[:per_level]
        found: list[tuple[float, int, Tensor, Tensor, Tensor]] = []
        for label in range(cls_logits.shape[1]):
            own = [(value, anchor) for value, anchor, own_label in kept if own_label == label]
            if own:
                scores, own_boxes = torch.tensor([s for s, _ in own]), boxes[[a for _, a in own]]
                for i in nms(own_boxes, scores, nms_iou).tolist():
                    found.append((float(scores[i]), label, own_boxes[i], own_boxes, scores))
        best = sorted(found, key=lambda f: -f[0])[:limit]
        batch.append([(plain_vote(*rest) if voting else rest[0], s, label) for s, label, *rest in best])
    return batch


def assert_same(detected: DetectedBatch, expected: list[Found]) -> None:
    for boxes, scores, labels, found in zip(*detected, expected):
        count = len(found)
        assert labels[:count].tolist() == [label for _, _, label in found]
        torch.testing.assert_close(scores[:count], torch.tensor([s for _, s, _ in found]), rtol=1e-6, atol=0)
        if count:
            torch.testing.assert_close(boxes[:count], torch.stack([b for b, _, _ in found]), rtol=1e-4, atol=1e-3)
        assert (labels[count:] == -1).all()
        assert (scores[count:] == 0).all()
        assert (boxes[count:] == 0).all()


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "defaults": ({"classes": 3}, {}),
    "plain": ({"classes": 3}, {"voting": False}),
    "few": ({"classes": 3, "background": -6.0}, {}),
    "one class": ({"classes": 1}, {}),
    "300 classes": ({"classes": 300, "background": -5.0, "spread": 1.0}, {}),
    "joint threshold": ({"classes": 3}, {"threshold_joint": True, "threshold": 0.3}),
    "joint, plain": ({"classes": 3}, {"threshold_joint": True, "voting": False}),
    "high threshold": ({"classes": 5}, {"threshold": 0.4}),
    "no threshold": ({"classes": 2}, {"threshold": 0.0, "voting": False}),
    "small limit": ({"classes": 5}, {"limit": 7}),
    "limit of one": ({"classes": 5}, {"limit": 1}),
    "huge limit": ({"classes": 5}, {"limit": 5000, "voting": False}),
    "few a level": ({"classes": 5}, {"per_level": 6}),
    "strict NMS": ({"classes": 2}, {"nms_iou": 0.1}),
    "no NMS": ({"classes": 2}, {"nms_iou": 1.0, "limit": 50}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_detect_is_the_loops(case: str, seed: int) -> None:
    drawn, settings = CASES[case]
    outputs = draw_outputs(seed, 2, **drawn)
    expected = plain_detect(outputs, **settings)
    assert any(expected)
    assert_same(detect(outputs, ANCHORS, SIZES, **settings), expected)


@pytest.mark.parametrize("voting", [True, False])
@pytest.mark.parametrize("joint", [True, False])
def test_nothing_found(voting: bool, joint: bool) -> None:
    outputs = draw_outputs(2, 2, 3, background=-20.0)
    boxes, scores, labels = detect(outputs, ANCHORS, SIZES, voting=voting, threshold_joint=joint)
    assert (boxes.shape, scores.shape, labels.shape) == ((2, 100, 4), (2, 100), (2, 100))
    assert (labels == -1).all()
    assert (scores == 0).all()
    assert (boxes == 0).all()


def test_nothing_found_in_one_image_of_two() -> None:
    outputs = draw_outputs(3, 2, 3)
    outputs.cls_logits[0] = -20.0
    detected = detect(outputs, ANCHORS, SIZES)
    assert (detected.labels[0] == -1).all()
    assert_same(detected, plain_detect(outputs))


@pytest.mark.parametrize("threshold", [0.0, 1.0])
@pytest.mark.parametrize("joint", [True, False])
def test_thresholds_at_the_ends(threshold: float, joint: bool) -> None:
    """Every candidate is above 0, none above 1."""
    detected = detect(draw_outputs(4, 2, 2), ANCHORS, SIZES, threshold=threshold, threshold_joint=joint)
    assert (detected.labels >= 0).any() == (threshold == 0)


def test_half_precision_loses_no_candidate_at_the_threshold() -> None:
    """The bfloat16 next above the threshold's logit: -2.9375, a probability of 0.0503."""
    outputs = draw_outputs(5, 2, 1)._replace(cls_logits=torch.full((2, 512, 1), -2.9375))
    halves = HeadOutputs(*(t.bfloat16() for t in outputs[:3]), LEVEL_SIZES)
    rounded = HeadOutputs(*(t.float() for t in halves[:3]), LEVEL_SIZES)
    expected = detect(rounded, ANCHORS, SIZES)
    assert (expected.labels == 0).any()
    assert torch.equal(detect(halves, ANCHORS, SIZES).labels, expected.labels)


@pytest.mark.parametrize("seed", range(4))
def test_what_holds_for_every_detection(seed: int) -> None:
    outputs = draw_outputs(seed, 2, 6)
    outputs.deltas.mul_(4)  # boxes that reach beyond their image, or lie wholly outside
    for voting in (True, False):
        boxes, scores, labels = detect(outputs, ANCHORS, SIZES, voting=voting, threshold=0.02)
        valid = labels >= 0
        assert valid.any()
        assert (valid.int().diff(dim=1) <= 0).all()
        assert (scores.diff(dim=1) <= 0).all()
        assert ((scores > 0) & (scores < 1))[valid].all()
        assert (labels < 6).all()
        assert labels.dtype == torch.int64
        assert (boxes >= 0).all()
        assert (boxes[..., 2:] <= SIZES.flip(1)[:, None] * (1 + 1e-6)).all()
        assert (boxes[..., 2:] > boxes[..., :2])[valid].all()  # an area
        if not voting:  # no pair of a class that NMS would part
            for image in range(2):
                for label in range(6):
                    own = boxes[image, labels[image] == label]
                    assert (box_iou(own, own).triu(1) <= 0.6 + 1e-6).all()


def test_boxes_outside_their_image_are_not_detections() -> None:
    outputs = draw_outputs(6, 2, 1, background=0.0)
    outputs.deltas[..., 0] = 500.0  # fifty anchors to the right
    assert (detect(outputs, ANCHORS, SIZES).labels == -1).all()


def test_images_do_not_affect_each_other() -> None:
    outputs = draw_outputs(7, 2, 4)
    both = detect(outputs, ANCHORS, SIZES)
    for p in range(2):
        alone = HeadOutputs(*(t[p : p + 1] for t in outputs[:3]), LEVEL_SIZES)
        detected = detect(alone, ANCHORS, SIZES[p : p + 1])
        assert torch.equal(detected.labels[0], both.labels[p])
        assert torch.equal(detected.scores[0], both.scores[p])
        torch.testing.assert_close(detected.boxes[0], both.boxes[p], rtol=1e-5, atol=1e-4)


def test_classes_do_not_suppress_each_other() -> None:
    """One box of two classes is two detections, also of the last class of an image and the first of the next."""
    outputs = draw_outputs(8, 2, 2, background=-20.0)
    box = torch.tensor([0.0, 0.0, 60.0, 60.0])
    outputs.deltas[:, 0] = encode(box, ANCHORS[0])
    outputs.cls_logits[:, 0] = torch.tensor([2.0, 1.0])
    detected = detect(outputs, ANCHORS, SIZES)
    assert detected.labels[:, :3].tolist() == [[0, 1, -1]] * 2
    torch.testing.assert_close(detected.boxes[:, :2], box.expand(2, 2, 4), rtol=0, atol=1e-4)


def test_many_classes_and_images_stay_apart() -> None:
    """A far corner of one class and the near corner of the next must not meet where NMS moves classes apart."""
    images, classes, size = 128, 1200, 1336.0
    corners = torch.tensor([[0.0, 0.0, 8.0, 8.0], [size - 8, size - 8, size, size]])
    logits = torch.full((images, 2, classes), -20.0)
    logits[:, 1, 0::60], logits[:, 0, 1::60] = 2.0, 1.0
    outputs = HeadOutputs(logits, torch.zeros(images, 2, 4), torch.zeros(images, 2), ((1, 2),))
    detected = detect(outputs, corners, torch.full((images, 2), int(size)), voting=False)
    assert (detected.labels >= 0).sum(1).tolist() == [40] * images


def random_votes(seed: int, candidates: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    kept = torch.rand(5, 4, generator=random) * 40
    kept[:, 2:] += kept[:, :2] + 20
    others = kept[:, None] + torch.randn(5, candidates, 4, generator=random) * 8
    return kept, others, torch.rand(5, candidates, generator=random)


@pytest.mark.parametrize("seed", range(5))
def test_voting_is_the_weighted_mean(seed: int) -> None:
    kept, candidates, scores = random_votes(seed)
    voted = score_voting(kept, candidates, scores)
    expected = torch.stack([plain_vote(*row) for row in zip(kept, candidates, scores)])
    torch.testing.assert_close(voted, expected, rtol=1e-4, atol=1e-3)
    # inside the convex hull of those that vote
    assert (voted >= candidates.amin(1) - 1e-3).all()
    assert (voted <= candidates.amax(1) + 1e-3).all()
    # neither the order nor the scale of the scores matters
    order = torch.randperm(40, generator=torch.Generator().manual_seed(seed))
    for same in (
        score_voting(kept, candidates[:, order], scores[:, order]),
        score_voting(kept, candidates, scores / 7),
        score_voting(kept, torch.cat([candidates, candidates], 1), torch.cat([scores, scores * 0], 1)),
    ):
        torch.testing.assert_close(same, voted, rtol=1e-5, atol=1e-3)


def test_which_candidates_do_not_vote() -> None:
    box = torch.tensor([[10.0, 10.0, 30.0, 30.0]])
    far = torch.tensor([[[100.0, 100.0, 130.0, 130.0], [29.0, 29.0, 49.0, 49.0], [10.0, 10.0, 30.0, 30.0]]])
    # no overlap, an IoU of 1 / 799, a score of 0: the box stays
    assert torch.equal(score_voting(box, far, torch.tensor([[1.0, 1.0, 0.0]])), box)
    torch.testing.assert_close(score_voting(box, far, torch.tensor([[1.0, 1.0, 0.3]])), box, rtol=1e-6, atol=0)
    assert score_voting(box[:0], far[:0], torch.zeros(0, 3)).shape == (0, 4)


def test_identical_candidates_keep_the_box() -> None:
    box = torch.tensor([[10.0, 10.0, 33.3, 31.7]])
    voted = score_voting(box, box.expand(1, 9, 4), torch.rand(1, 9, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(voted, box, rtol=1e-6, atol=0)


def test_sigma_sets_how_much_others_count() -> None:
    box, other = torch.tensor([[0.0, 0.0, 10.0, 10.0]]), torch.tensor([[[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 8.0]]])
    scores = torch.tensor([[0.5, 1.0]])  # IoU 0.8: exp(-0.04 / sigma)
    for sigma in (0.025, 0.5):
        weight = math.exp(-0.04 / sigma)
        expected = (0.5 * 10 + weight * 8) / (0.5 + weight)
        assert score_voting(box, other, scores, sigma)[0, 3].item() == pytest.approx(expected, rel=1e-5)
    assert torch.equal(score_voting(box, other, scores), score_voting(box, other, scores, 0.025))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu() -> None:
    outputs = draw_outputs(9, 2, 5)
    on_gpu = HeadOutputs(*(t.cuda() for t in outputs[:3]), LEVEL_SIZES)
    detected = DetectedBatch(*(t.cpu() for t in detect(on_gpu, ANCHORS.cuda(), SIZES.cuda())))
    assert_same(detected, plain_detect(outputs))


def test_autocast_leaves_detections_as_they_are() -> None:
    """In bfloat16 a coordinate has 8 significant bits: whole pixels from 256 on."""
    outputs = draw_outputs(5, 2, 3)
    plain = detect(outputs, ANCHORS, SIZES)
    with torch.autocast("cpu", torch.bfloat16):
        inside = detect(outputs, ANCHORS, SIZES)
    assert (plain.labels >= 0).any()
    for one, other in zip(plain, inside):
        assert torch.equal(one, other)


def detect_in_fixed_shapes(*given: Any, **settings: Any) -> DetectedBatch:
    """Detect as accelerators do, but for the kernel of NMS, on the CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postprocess, "select_candidates", _select_dense)
        patch.setattr(postprocess, "_voters", postprocess._all_as_voters)
        return detect(*given, **settings)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_fixed_shapes_give_the_same_detections(case: str, ties: bool) -> None:
    drawn, settings = CASES[case]
    outputs = draw_outputs(10, 2, **drawn)
    outputs.deltas.mul_(2)
    if ties:
        outputs.cls_logits.mul_(2).round_().div_(2)
        outputs.iou_logits.round_()
    expected = detect(outputs, ANCHORS, SIZES, **settings)
    detected = detect_in_fixed_shapes(outputs, ANCHORS, SIZES, **settings)
    assert (expected.labels >= 0).any()
    assert torch.equal(detected.labels, expected.labels)
    torch.testing.assert_close(detected.scores, expected.scores, rtol=1e-6, atol=0)
    torch.testing.assert_close(detected.boxes, expected.boxes, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("background", [-20.0, 0.0])
@pytest.mark.parametrize("limit", [0, 3])
def test_fixed_shapes_where_little_is_found_or_wanted(background: float, limit: int) -> None:
    outputs = draw_outputs(11, 2, 3, background=background)
    for per_level in (0, 1):
        settings = {"limit": limit, "per_level": per_level}
        expected = detect(outputs, ANCHORS, SIZES, **settings)
        detected = detect_in_fixed_shapes(outputs, ANCHORS, SIZES, **settings)
        assert expected.boxes.shape == detected.boxes.shape == (2, limit, 4)
        assert torch.equal(detected.labels, expected.labels)
        assert (expected.labels >= 0).any() == (background == 0 and limit > 0 and per_level > 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_host_does_not_wait_for_a_gpu() -> None:
    outputs = draw_outputs(12, 2, 5)
    on_gpu = HeadOutputs(*(t.cuda() for t in outputs[:3]), LEVEL_SIZES)
    given = (on_gpu, ANCHORS.cuda(), SIZES.cuda())
    detect(*given)  # the kernel is built
    torch.cuda.set_sync_debug_mode("error")
    try:
        detect(*given)
    finally:
        torch.cuda.set_sync_debug_mode("default")
