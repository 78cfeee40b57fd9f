from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import paa
from paa.config import InferenceConfig, LoadingConfig, MultiScaleConfig, Precision
from paa.data.read import read_dataset
from paa.data.transforms import scale_boxes
from paa.errors import ConfigError
from paa.evaluation.metrics import evaluate
from paa.inference.dataset import detect_dataset
from paa.inference.detect import detect_batch, to_original
from paa.runtime.distributed import Process

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


@pytest.mark.parametrize("legacy", [False, True])
def test_to_original_undoes_the_resizing(legacy: bool) -> None:
    boxes = torch.rand(2, 5, 4, generator=torch.Generator().manual_seed(0)) * 60
    sizes, originals = [(64, 96), (64, 64)], [(30, 45), (640, 641)]
    found = to_original(boxes, torch.tensor(sizes), torch.tensor(originals), legacy)
    for image in range(2):
        expected = scale_boxes(boxes[image], sizes[image], originals[image], legacy)
        torch.testing.assert_close(found[image], expected)


@pytest.mark.parametrize("voting", [True, False])
def test_boxes_of_legacy_models_end_inside_the_original(checkpoint: Path, voting: bool) -> None:
    """Scaling inclusive coordinates down leaves the last column up to a pixel outside."""
    model = paa.load(checkpoint, "cpu")
    model.config = replace(model.config, legacy=True)
    torch.nn.init.constant_(model.head.deltas.bias, 5.0)  # boxes as large as the image
    for size in ((64, 96), (61, 87), (30, 43), (240, 333)):
        images = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
        found = detect_batch(
            model.eval(), images, torch.tensor([[64, 96]]), torch.tensor([size]), InferenceConfig(voting=voting)
        )
        boxes = found.boxes[0][found.labels[0] >= 0]
        height, width = size
        assert (boxes >= 0).all()
        assert boxes[:, 2].max() == pytest.approx(min(width, 95 * width / 96 + 1), abs=1e-3)
        assert boxes[:, 3].max() == pytest.approx(min(height, 63 * height / 64 + 1), abs=1e-3)
        assert (boxes <= torch.tensor([width, height, width, height])).all()
        assert ((boxes[:, 2:] - boxes[:, :2]) > 0).all()


def test_a_threshold_below_the_candidates_threshold_reaches_lower(checkpoint: Path) -> None:
    model = paa.load(checkpoint, "cpu")
    torch.nn.init.constant_(model.head.cls_logits.bias, -4)
    usual = model.predict(IMAGE, limit=10_000)
    low = model.predict(IMAGE, limit=10_000, threshold=0.001)
    assert len(low) > len(usual)
    assert len(model.predict(IMAGE, limit=10_000, threshold=0.05)) <= len(usual)
    assert len(model.predict(IMAGE, limit=10_000, threshold=0.001, candidate_threshold=0.05)) == len(usual)
    assert len(model.predict(IMAGE, limit=10_000, candidate_threshold=0.001)) >= len(low)


def test_nms_iou_and_limit(checkpoint: Path) -> None:
    model = paa.load(checkpoint, "cpu")
    counts = [len(model.predict(IMAGE, nms_iou=iou, limit=10_000)) for iou in (0.0, 0.6, 1.0)]
    assert counts == sorted(set(counts))
    assert len(model.predict(IMAGE, limit=counts[1] - 1)) == counts[1] - 1
    for options in (
        {"nms_iou": -0.1},
        {"nms_iou": 1.1},
        {"candidate_threshold": 2.0},
        {"limit": 0},
        {"threshold": 7.0},
    ):
        with pytest.raises(ConfigError):
            model.predict(IMAGE, **options)  # type: ignore[call-overload]


def test_nms_and_candidate_threshold_hold_in_every_view(checkpoint: Path) -> None:
    model = paa.load(checkpoint, "cpu")
    views = MultiScaleConfig(scales=(48,), windows=((0, 9999),))
    many = len(model.predict(IMAGE, multi_scale=views, limit=10_000))
    assert len(model.predict(IMAGE, multi_scale=views, limit=10_000, candidate_threshold=0.4)) < many
    assert len(model.predict(IMAGE, multi_scale=views, limit=10_000, nms_iou=0.1)) < many


@pytest.mark.parametrize("views", [None, MultiScaleConfig(scales=(48,), windows=((0, 9999),))])
def test_the_threshold_removes_what_has_a_lower_score(checkpoint: Path, views: MultiScaleConfig | None) -> None:
    model = paa.load(checkpoint, "cpu")
    images, size = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8), torch.tensor([[64, 96]] * 2)
    every = detect_batch(model, images, size, size, InferenceConfig(views=views))
    score = float(every.scores[0, 9])
    some = detect_batch(model, images, size, size, InferenceConfig(threshold=score, views=views))
    kept = some.labels >= 0
    assert 10 <= kept[0].sum() < (every.labels[0] >= 0).sum()
    assert torch.equal(kept, (every.scores >= np.float32(score)) & (every.labels >= 0))
    for before, after in zip(every, some):
        assert torch.equal(before[kept], after[kept])


def test_precision_auto_is_that_of_the_device(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = paa.load(checkpoint, "cpu")
    images, size = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8), torch.tensor([[64, 96]])

    def scores(precision: Precision) -> torch.Tensor:
        return detect_batch(model, images, size, size, InferenceConfig(precision=precision)).scores

    assert not torch.equal(scores("float32"), scores("bfloat16"))
    for has, same in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr("paa.model.detector.has_bfloat16", lambda device, has=has: has)
        assert torch.equal(scores("auto"), scores(same))  # type: ignore[arg-type]


def test_more_than_a_hundred_detections_of_an_image_are_evaluated(checkpoint: Path, shapes: Path) -> None:
    model, index = paa.load(checkpoint, "cpu"), read_dataset(shapes, "val")
    inference = InferenceConfig(max_detections=300, nms_iou=0.9)
    table = detect_dataset(model, index, Process(torch.device("cpu")), inference, LoadingConfig(workers=0)).table
    assert np.bincount(table.image).max() > 100
    usual, more, fewer = (evaluate(index, table, max_detections=limit).metrics for limit in (100, 300, 20))
    assert list(more.summary)[8] == "AR300"
    assert "AR100" not in more.summary
    assert (more["AR300"] or 0) >= (usual["AR100"] or 0)
    assert fewer == usual
