"""The graph's formulation of post-processing finds what the core's does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from paa.core import HeadOutputs, detect, make_anchors
from paa.export import postprocess

SIZES = ((8, 12), (4, 6), (2, 3), (1, 2), (1, 1))
SETTINGS: dict[str, Any] = {
    "voting": True,
    "threshold": 0.05,
    "threshold_joint": False,
    "nms_iou": 0.6,
    "limit": 100,
    "legacy": False,
}


def head_outputs(seed: int, images: int = 2, classes: int = 3, bias: float = -1.0) -> tuple[HeadOutputs, Tensor]:
    random = torch.Generator().manual_seed(seed)
    anchors = make_anchors(SIZES)
    n = len(anchors)
    return (
        HeadOutputs(
            torch.randn(images, n, classes, generator=random) * 1.5 + bias,
            torch.randn(images, n, 4, generator=random) * 2,
            torch.randn(images, n, generator=random),
            SIZES,
        ),
        anchors,
    )


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"voting": False},
        {"legacy": True},
        {"threshold_joint": True, "threshold": 0.3},
        {"nms_iou": 0.3, "limit": 7},
        {"per_level": 20},
        {"threshold": 0.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", [0, 1])
def test_it_equals_the_core(change: dict[str, Any], seed: int) -> None:
    outputs, anchors = head_outputs(seed, images=1 + seed, classes=3 + 9 * seed)
    sizes = torch.tensor([[64, 90], [51, 96]])[: 1 + seed]
    ours = postprocess.detect(outputs, anchors, sizes, **(SETTINGS | change))
    core = detect(outputs, anchors, sizes, **(SETTINGS | change))
    assert (core.labels >= 0).sum() >= 7
    assert torch.equal(ours.labels, core.labels)
    assert torch.equal(ours.scores, core.scores)
    torch.testing.assert_close(ours.boxes, core.boxes, rtol=0, atol=1e-3)


def test_images_with_few_detections_and_none() -> None:
    outputs, anchors = head_outputs(2, images=3)
    outputs.cls_logits[1:] = -20.0
    outputs.cls_logits[2, 5, 1] = 2.0
    sizes = torch.tensor([[64, 96]] * 3)
    ours = postprocess.detect(outputs, anchors, sizes, **SETTINGS)
    core = detect(outputs, anchors, sizes, **SETTINGS)
    assert [int(count) for count in (ours.labels >= 0).sum(1)[1:]] == [0, 1]
    for mine, theirs in zip(ours, core):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-3)


def stable_topk(values: Tensor, k: int, dim: int) -> tuple[Tensor, Tensor]:
    """ONNX's TopK, which gives equal values in their order; torch's in any."""
    ordered = values.sort(dim=dim, descending=True, stable=True)
    return torch.return_types.topk([column.narrow(dim, 0, k) for column in ordered])


def test_equal_scores_come_in_the_order_of_anchors_and_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """All scores are one of two values, so that only the order of ties decides what is kept."""
    monkeypatch.setattr(torch.Tensor, "topk", stable_topk)
    outputs, anchors = head_outputs(3)
    # 1 and 1/2 after the sigmoid, to the bit, in vectorised and in other code
    outputs = outputs._replace(
        cls_logits=torch.where(outputs.cls_logits > 0, 200.0, 0.0), iou_logits=torch.zeros_like(outputs.iou_logits)
    )
    sizes = torch.tensor([[64, 96]] * 2)
    for per_level in (10, 1000):
        ours = postprocess.detect(outputs, anchors, sizes, **SETTINGS, per_level=per_level)
        core = detect(outputs, anchors, sizes, **SETTINGS, per_level=per_level)
        torch.testing.assert_close(ours.boxes, core.boxes, rtol=0, atol=1e-3)
        assert torch.equal(ours.labels, core.labels)
