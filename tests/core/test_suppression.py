"""NMS of a batch as a loop over its boxes, and what happens where no kernel runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from paa.core import suppression
from paa.core.suppression import suppress
from tests.scenes import draw_boxes

Suppress = Callable[[Tensor, Tensor, float, int], Tensor]


def draw(seed: int, counts: tuple[int, ...], columns: int, classes: int, whole: bool) -> tuple[Tensor, Tensor]:
    """Draw boxes (B, columns, 4) and labels (B, columns); `whole` numbers as corners give many an equal IoU."""
    random = torch.Generator().manual_seed(seed)
    boxes = draw_boxes(seed, len(counts) * columns, whole).view(len(counts), columns, 4)
    if whole:
        boxes = (boxes / 16).round() * 16
        boxes[..., 2:] = torch.maximum(boxes[..., 2:], boxes[..., :2] + 16)
    labels = torch.randint(classes, (len(counts), columns), generator=random)
    return boxes, torch.where(torch.arange(columns) < torch.tensor(counts)[:, None], labels, -1)


def plain_suppress(boxes: Tensor, labels: Tensor, nms_iou: float, limit: int) -> list[list[int]]:
    """Return the positions that are kept in each image, one box after the other."""
    result = []
    for own, own_labels in zip(boxes.double().tolist(), labels.tolist()):
        kept: list[int] = []
        for i, (x1, y1, x2, y2) in enumerate(own):
            if own_labels[i] < 0 or len(kept) == limit:
                break
            for j in kept:
                a1, b1, a2, b2 = own[j]
                shared = max(min(x2, a2) - max(x1, a1), 0) * max(min(y2, b2) - max(y1, b1), 0)
                union = (a2 - a1) * (b2 - b1) + (x2 - x1) * (y2 - y1) - shared
                if own_labels[i] == own_labels[j] and shared / union > nms_iou:
                    break
            else:
                kept.append(i)
        result.append(kept + [-1] * (limit - len(kept)))
    return result


def check(suppress: Suppress, whole: bool, nms_iou: float, limit: int, most: int = 150) -> None:
    """Compare an implementation with the loop, on images with many, few, one and no boxes."""
    for seed, (columns, classes) in enumerate([(most, 1), (most, 3), (most, 1000), (1, 1)]):
        counts = tuple(min(count, columns) for count in (most, 0, 1, most // 2))
        boxes, labels = draw(seed, counts, columns, classes, whole)
        kept = suppress(boxes, labels, nms_iou, limit)
        assert kept.dtype == torch.int64
        assert kept.tolist() == plain_suppress(boxes, labels, nms_iou, limit)


SETTINGS = pytest.mark.parametrize(("nms_iou", "limit"), [(0.6, 100), (0.6, 9), (0.05, 100), (0.3, 1), (1.0, 200)])


@pytest.mark.parametrize("whole", [False, True])
@SETTINGS
def test_is_the_loop(whole: bool, nms_iou: float, limit: int) -> None:
    check(suppress, whole, nms_iou, limit)


def test_an_overlap_equal_to_the_threshold_is_kept() -> None:
    boxes = torch.tensor([[[0.0, 0.0, 10.0, 8.0], [0.0, 0.0, 10.0, 4.0], [0.0, 0.0, 10.0, 10.0]]])  # 1/2, 4/5 and 2/5
    assert suppress(boxes, torch.zeros(1, 3, dtype=torch.int64), 0.5, 3).tolist() == [[0, 1, -1]]
    assert suppress(boxes, torch.zeros(1, 3, dtype=torch.int64), 0.499, 3).tolist() == [[0, -1, -1]]


def test_classes_stay_apart_where_coordinates_are_negative() -> None:
    boxes = torch.tensor([[[0.0, 0.0, 100.0, 100.0], [-101.0, -101.0, -1.0, -1.0]]])
    assert suppress(boxes, torch.tensor([[0, 1]]), 0.5, 2).tolist() == [[0, 1]]


def test_the_next_few_hundred_are_tried_only_if_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def counting(boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
        tried.append(len(boxes))
        return nms(boxes, scores, iou)

    nms = suppression.nms
    monkeypatch.setattr(suppression, "nms", counting)
    boxes, labels = draw(0, (500, 500), 500, 10, whole=False)
    boxes[1, :100] = boxes[1, 0]  # a hundred times the same box
    labels[1, :100] = labels[1, 0]
    kept = suppress(boxes, labels, 0.6, 10)
    assert tried == [40, 40, 1 + 40, 1 + 80]
    assert kept.tolist() == plain_suppress(boxes, labels, 0.6, 10)


@pytest.fixture
def no_kernel_yet() -> Iterator[None]:
    suppression._kernel.cache_clear()
    yield
    suppression._kernel.cache_clear()


@pytest.mark.usefixtures("no_kernel_yet")
def test_a_missing_triton_is_warned_of_once(monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder) -> None:
    monkeypatch.setitem(sys.modules, "paa.core._kernels.suppression", None)
    for _ in range(2):
        assert suppression._kernel(torch.device("cuda", 0)) is None
    assert [str(w.message).split(",")[0] for w in recwarn] == ["no kernel for NMS on cuda:0"]


@pytest.mark.usefixtures("no_kernel_yet")
def test_other_accelerators_have_no_kernel(recwarn: pytest.WarningsRecorder) -> None:
    assert suppression._kernel(torch.device("mps")) is None
    assert not recwarn


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("whole", [False, True])
@SETTINGS
def test_on_a_gpu(whole: bool, nms_iou: float, limit: int) -> None:
    def on_gpu(boxes: Tensor, labels: Tensor, nms_iou: float, limit: int) -> Tensor:
        return suppress(boxes.cuda(), labels.cuda(), nms_iou, limit).cpu()

    check(on_gpu, whole, nms_iou, limit)
