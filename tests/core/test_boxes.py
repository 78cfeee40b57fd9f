from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou, generalized_box_iou

from paa.core.boxes import _MAX_LOG_SCALE, area, clip, decode, encode, giou, iou
from tests.scenes import draw_boxes


def doubles(seed: int, count: int) -> Tensor:
    return draw_boxes(seed, count).double()


def test_area() -> None:
    boxes = torch.tensor([[1.0, 2.0, 4.0, 6.5], [3.0, 3.0, 3.0, 9.0], [5.0, 5.0, 4.0, 3.0], [-2.0, -2.0, 1.0, 0.0]])
    assert area(boxes).tolist() == [13.5, 0.0, 0.0, 6.0]
    assert area(boxes.view(2, 2, 4)).shape == (2, 2)


def test_iou_is_torchvisions() -> None:
    a, b = doubles(0, 200), doubles(1, 300)
    expected = box_iou(a, b)
    torch.testing.assert_close(iou(a[:, None], b[None]), expected, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(iou(b[:, None], a[None]), expected.T, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(iou(a.float()[:, None], b.float()), expected.float(), rtol=1e-5, atol=1e-6)
    assert (iou(a, a) == 1).all()


def test_iou_by_hand() -> None:
    a = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    others = torch.tensor([[1.0, 1.0, 3.0, 3.0], [2.0, 0.0, 4.0, 2.0], [0.0, 0.0, 1.0, 1.0], [5.0, 5.0, 6.0, 6.0]])
    torch.testing.assert_close(iou(a, others), torch.tensor([1 / 7, 0.0, 0.25, 0.0]))


def test_iou_of_empty_boxes_is_zero() -> None:
    point, line = torch.tensor([3.0, 3.0, 3.0, 3.0]), torch.tensor([1.0, 1.0, 9.0, 1.0])
    backwards, box = torch.tensor([5.0, 5.0, 2.0, 2.0]), torch.tensor([0.0, 0.0, 9.0, 9.0])
    for empty in (point, line, backwards):
        for other in (point, line, backwards, box):
            assert iou(empty, other).item() == 0


def test_iou_changes_nothing_and_has_no_gradient() -> None:
    a, b = draw_boxes(2, 20).requires_grad_(), draw_boxes(3, 20)
    before = a.detach().clone(), b.clone()
    assert not iou(a, b).requires_grad
    assert torch.equal(a, before[0])
    assert torch.equal(b, before[1])


def test_giou_is_torchvisions() -> None:
    a, b = doubles(4, 150), doubles(5, 250)
    torch.testing.assert_close(giou(a[:, None], b[None]), generalized_box_iou(a, b), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(giou(b[:, None], a[None]), generalized_box_iou(a, b).T, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(giou(a, a), torch.ones(150, dtype=torch.float64))


def inclusive_giou(a: list[float], b: list[float]) -> float:
    """The official code's loss, from inclusive coordinates: no `+ 1` in areas, 1e-7 in both denominators."""
    ax1, ay1, ax2, ay2 = a[0], a[1], max(a[0], a[2]), max(a[1], a[3])
    bx1, by1, bx2, by2 = b
    intersection = max(min(ax2, bx2) - max(ax1, bx1), 0) * max(min(ay2, by2) - max(ay1, by1), 0)
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - intersection + 1e-7
    enclosing = (max(ax2, bx2) - min(ax1, bx1)) * (max(ay2, by2) - min(ay1, by1)) + 1e-7
    return intersection / union - (enclosing - union) / enclosing


def test_legacy_giou_is_the_official_formula_on_inclusive_boxes() -> None:
    a, b = doubles(6, 300), doubles(7, 300)
    a[:20, 2:] = a[:20, :2] + 0.5  # less than a pixel: the inclusive box would be backwards
    one = torch.tensor([0, 0, 1, 1])
    expected = [inclusive_giou(x, y) for x, y in zip((a - one).tolist(), (b - one).tolist())]
    torch.testing.assert_close(giou(a, b, legacy=True).tolist(), expected, rtol=1e-9, atol=1e-12)
    assert (giou(a, b, legacy=True) - giou(a, b)).abs().max() > 1e-3


@pytest.mark.parametrize("legacy", [False, True])
def test_giou_has_the_gradient_of_its_value(legacy: bool) -> None:
    a, b = doubles(8, 30).requires_grad_(), doubles(9, 30)
    assert torch.autograd.gradcheck(lambda boxes: giou(boxes, b, legacy), (a,))
    values = giou(a, b, legacy)
    assert ((values >= -1) & (values <= 1)).all()


@pytest.mark.parametrize("legacy", [False, True])
def test_giou_of_empty_boxes_is_finite(legacy: bool) -> None:
    empty = torch.tensor([[3.0, 3.0, 3.0, 3.0], [1.0, 1.0, 9.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    boxes = empty.repeat_interleave(3, 0).requires_grad_()
    values = giou(boxes, empty.repeat(3, 1), legacy)
    values.sum().backward()
    assert torch.isfinite(values).all()
    assert torch.isfinite(boxes.grad).all()


def test_encode_and_decode_are_inverse() -> None:
    boxes, anchors = doubles(10, 500), doubles(11, 500)
    torch.testing.assert_close(decode(encode(boxes, anchors), anchors), boxes, rtol=1e-12, atol=1e-10)
    deltas = torch.randn(500, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 5
    torch.testing.assert_close(encode(decode(deltas, anchors), anchors), deltas, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(decode(deltas[:, None], anchors[None, :7]).shape, torch.Size([500, 7, 4]))


def test_decode_by_hand() -> None:
    anchor = torch.tensor([10.0, 20.0, 30.0, 60.0])  # 20 x 40 around (20, 40)
    assert decode(torch.zeros(4), anchor).tolist() == anchor.tolist()
    moved = decode(torch.tensor([5.0, -10.0, 5 * math.log(2), 5 * math.log(0.5)]), anchor)
    torch.testing.assert_close(moved, torch.tensor([10.0, -10.0, 50.0, 10.0]))
    torch.testing.assert_close(encode(moved, anchor), torch.tensor([5.0, -10.0, 5 * math.log(2), 5 * math.log(0.5)]))


def test_decode_does_not_overflow() -> None:
    anchors = torch.tensor([[0.0, 0.0, 64.0, 64.0]])
    wide = decode(torch.tensor([[0.0, 0.0, 1e4, 1e30]]), anchors)
    torch.testing.assert_close(wide[:, 2:] - wide[:, :2], torch.full((1, 2), 64 * 1000 / 16))
    assert math.isclose(_MAX_LOG_SCALE, math.log(62.5))
    thin = decode(torch.tensor([[0.0, 0.0, -1e4, -1e30]]), anchors)
    assert thin.tolist() == [[32.0, 32.0, 32.0, 32.0]]


def test_clip() -> None:
    boxes = torch.tensor([[-5.0, -5.0, 300.0, 200.0], [10.0, 20.0, 30.0, 40.0], [-9.0, 150.0, -1.0, 160.0]])
    assert clip(boxes, torch.tensor([100, 250])).tolist() == [
        [0.0, 0.0, 250.0, 100.0],
        [10.0, 20.0, 30.0, 40.0],
        [0.0, 100.0, 0.0, 100.0],
    ]
    each = clip(boxes, torch.tensor([[10, 20], [30, 15], [50, 60]]))
    assert each[:, 2:].tolist() == [[20.0, 10.0], [15.0, 30.0], [0.0, 50.0]]
