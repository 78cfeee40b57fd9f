"""The sparse and the dense selection must find the same candidates; `test_postprocess.py` says which."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from paa.core.outputs import HeadOutputs
from paa.core.selection import Candidates, _select_dense, _select_sparse, select_candidates
from tests.scenes import ANCHORS, HEIGHT, LEVEL_SIZES, WIDTH, draw_outputs

SIZES = torch.tensor([[HEIGHT, WIDTH], [100, 150]])


def assert_same(sparse: Candidates, dense: Candidates) -> None:
    """But for a score's last bit, which vector units round otherwise; and nothing behind the last but padding."""
    most = sparse.labels.shape[1]
    valid = sparse.labels >= 0
    assert torch.equal(sparse.labels, dense.labels[:, :most])
    torch.testing.assert_close(sparse.scores, dense.scores[:, :most], rtol=1e-6, atol=0)
    assert torch.equal(sparse.boxes[valid], dense.boxes[:, :most][valid])
    for side in (sparse, dense):
        assert torch.equal(side.labels >= 0, side.scores > 0)
        assert ((side.labels >= 0).int().diff(dim=1) <= 0).all()
        assert (side.scores.diff(dim=1) <= 0).all()
    assert (dense.labels[:, most:] == -1).all()


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "defaults": ({"classes": 3}, {}),
    "one class": ({"classes": 1}, {}),
    "300 classes": ({"classes": 300, "background": -5.0, "spread": 1.0}, {}),
    "few": ({"classes": 3, "background": -6.0}, {}),
    "nothing": ({"classes": 3, "background": -20.0}, {}),
    "joint threshold": ({"classes": 3}, {"joint": True, "threshold": 0.3}),
    "no threshold": ({"classes": 2}, {"threshold": 0.0}),
    "threshold of one": ({"classes": 2}, {"threshold": 1.0}),
    "few a level": ({"classes": 5}, {"per_level": 6}),
    "one a level": ({"classes": 5}, {"per_level": 1}),
    "none a level": ({"classes": 5}, {"per_level": 0}),
    "legacy": ({"classes": 3}, {"legacy": True}),
}
PLAIN: dict[str, Any] = {"threshold": 0.05, "joint": False, "per_level": 1000}


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_both_find_the_same(case: str, ties: bool) -> None:
    drawn, settings = CASES[case]
    for seed in range(3):
        outputs = draw_outputs(seed, 2, **drawn)
        outputs.deltas.mul_(4)  # boxes that reach beyond their image, or lie wholly outside
        if ties:
            outputs.cls_logits.mul_(2).round_().div_(2)
            outputs.iou_logits.round_()
        given = (outputs, ANCHORS, SIZES)
        sparse, dense = (select(*given, **{**PLAIN, **settings}) for select in (_select_sparse, _select_dense))
        assert_same(sparse, dense)
        assert (sparse.labels >= 0).any() == (case not in ("nothing", "threshold of one", "none a level"))


def test_equal_scores_come_in_the_order_of_anchors_then_of_classes() -> None:
    outputs = HeadOutputs(torch.zeros(2, 512, 2), torch.zeros(2, 512, 4), torch.zeros(2, 512), LEVEL_SIZES)
    for select in (_select_sparse, _select_dense):
        found = select(outputs, ANCHORS, SIZES, threshold=0.05, joint=False, per_level=5)
        assert (
            found.labels[:, :24].tolist() == [[0, 1, 0, 1, 0] * 4 + [0, 1, 0, 1]] * 2
        )  # the last level has two anchors
        starts = [start + step for start in (0, 384, 480, 504) for step in (0, 0, 1, 1, 2)] + [510, 510, 511, 511]
        clipped = torch.minimum(ANCHORS[starts].clamp(min=0), SIZES.flip(1).repeat(1, 2)[:, None])
        torch.testing.assert_close(found.boxes[:, :24], clipped)


@pytest.mark.parametrize("select", [_select_sparse, _select_dense])
def test_boxes_wholly_outside_are_candidates_of_legacy_models_only(select: Any) -> None:
    outputs = draw_outputs(0, 2, classes=3)
    outputs.deltas[..., :2] = -300.0  # thirty anchors' sides to the left of the image and above it
    assert (select(outputs, ANCHORS, SIZES, **PLAIN).labels < 0).all()
    found = select(outputs, ANCHORS, SIZES, **PLAIN, legacy=True)
    assert (found.labels >= 0).sum() > 20
    assert (found.boxes[found.labels >= 0] == torch.tensor([0.0, 0, 1, 1])).all()


def test_one_image_may_have_nothing() -> None:
    outputs = draw_outputs(0, 2, 3)
    outputs.cls_logits[0] = -20
    sparse, dense = (select(outputs, ANCHORS, SIZES, **PLAIN) for select in (_select_sparse, _select_dense))
    assert_same(sparse, dense)
    assert (sparse.labels >= 0).any(1).tolist() == [False, True]


def test_what_is_no_number_is_no_candidate() -> None:
    outputs = draw_outputs(1, 2, 3)
    outputs.cls_logits[0, ::2] = torch.nan
    outputs.iou_logits[1, ::3] = torch.nan
    outputs.iou_logits[1, 1::3] = -500.0  # a score of 0
    sparse, dense = (select(outputs, ANCHORS, SIZES, **PLAIN) for select in (_select_sparse, _select_dense))
    assert_same(sparse, dense)
    assert (sparse.labels >= 0).any(1).all()


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_is_read_as_it_is(kind: torch.dtype) -> None:
    outputs = draw_outputs(2, 2, 3)
    halves = HeadOutputs(*(t.to(kind) for t in outputs[:3]), LEVEL_SIZES)
    rounded = HeadOutputs(*(t.float() for t in halves[:3]), LEVEL_SIZES)
    expected = _select_sparse(rounded, ANCHORS, SIZES, **PLAIN)
    assert_same(_select_sparse(halves, ANCHORS, SIZES, **PLAIN), expected)
    assert_same(expected, _select_dense(halves, ANCHORS, SIZES, **PLAIN))


def test_a_cpu_takes_the_sparse_implementation() -> None:
    outputs = draw_outputs(3, 2, 3, background=-5.0)
    assert select_candidates(outputs, ANCHORS, SIZES, **PLAIN).labels.shape[1] < 512


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu() -> None:
    outputs = draw_outputs(4, 2, 5)
    on_gpu = HeadOutputs(*(t.cuda() for t in outputs[:3]), LEVEL_SIZES)
    dense = Candidates(*(t.cpu() for t in select_candidates(on_gpu, ANCHORS.cuda(), SIZES.cuda(), **PLAIN)))
    sparse = select_candidates(outputs, ANCHORS, SIZES, **PLAIN)
    most = sparse.labels.shape[1]
    assert torch.equal(dense.labels[:, :most], sparse.labels)
    torch.testing.assert_close(dense.scores[:, :most], sparse.scores, rtol=1e-6, atol=0)
