"""The variants of a detector: those without a part are ordinary evaluations, those with the truth are bounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from paa.config import InferenceConfig, LoadingConfig
from paa.core.boxes import decode, encode
from paa.core.outputs import HeadOutputs
from paa.data.batch import Batch
from paa.data.read import read_dataset
from paa.evaluation.dataset import evaluate_dataset
from paa.model.detector import Detector
from paa.study.evaluate import VARIANTS, _scored, evaluate_variants
from paa.weights.read import build, read_weights
from tests.scenes import ANCHORS, HEIGHT, WIDTH, draw_scene
from tests.training.runs import CPU, cut_after_reading

LOADING = LoadingConfig(workers=0)


@pytest.fixture
def detector(checkpoint: Path) -> Detector:
    return build(read_weights(checkpoint), "checkpoint", Detector)


def test_variants_without_a_part_are_ordinary_evaluations(detector: Detector, shapes: Path) -> None:
    index = read_dataset(shapes, "train", names=detector.names)
    found, images = evaluate_variants(detector, index, CPU, LOADING)
    assert images == len(index)
    assert list(found) == list(VARIANTS)
    for name, voting in (("as trained", True), ("no voting", False)):
        expected = evaluate_dataset(detector, index, CPU, InferenceConfig(voting=voting), LOADING)
        assert expected is not None
        assert found[name] == expected.metrics.summary
    handle = detector.head.iou_logits.register_forward_hook(lambda module, given, made: torch.full_like(made, 20.0))
    expected = evaluate_dataset(detector, index, CPU, InferenceConfig(), LOADING)
    handle.remove()
    assert expected is not None
    assert found["no IoU prediction"] == expected.metrics.summary
    assert found["as trained"]["AP"] < found["true IoU"]["AP"] < found["truth"]["AP"]  # type: ignore[operator]


def test_images_that_cannot_be_read_are_not_missed(detector: Detector, shapes: Path, tmp_path: Path) -> None:
    index, cut = cut_after_reading(shapes, tmp_path / "data", detector.names)
    found, images = evaluate_variants(detector, index, CPU, LoadingConfig(workers=0, skip_bad=True))
    rest = index.select(np.delete(np.arange(len(index)), cut))
    assert images == len(rest) == len(index) - 1
    assert found == evaluate_variants(detector, rest, CPU, LOADING)[0]


def test_the_truth_is_the_iou_with_the_objects() -> None:
    """Boxes that are objects score 1 for their class alone, and boxes on nothing score nothing."""
    scene = draw_scene(3, (4, 0), 6)
    outputs, boxes, labels = scene
    deltas = outputs.deltas.clone()
    places = torch.nonzero(labels[0] >= 0).flatten()
    anchors = torch.arange(len(places)) * 50
    deltas[0, anchors] = encode(boxes[0, places], ANCHORS[anchors])
    exact = HeadOutputs(outputs.cls_logits, deltas, outputs.iou_logits, outputs.level_sizes)
    sizes = torch.tensor([[HEIGHT, WIDTH]] * 2)
    batch = Batch(torch.zeros(2, 3, 1, 1, dtype=torch.uint8), sizes, boxes, labels, torch.arange(2), sizes)
    torch.testing.assert_close(decode(deltas[0, anchors], ANCHORS[anchors]), boxes[0, places])
    true_iou = _scored("true IoU", exact, ANCHORS, batch, False).iou_logits.sigmoid()
    assert (true_iou[0, anchors] > 0.999).all()
    assert (true_iou[1] < 1e-5).all()
    truth = _scored("truth", exact, ANCHORS, batch, False)
    own = truth.cls_logits.sigmoid()[0, anchors, labels[0, places]]
    assert (own > 0.999).all()
    assert (truth.cls_logits.sigmoid()[1] < 1e-5).all()
    torch.testing.assert_close(truth.cls_logits.sigmoid().amax(2), true_iou, rtol=0, atol=1e-5)
    assert (truth.iou_logits.sigmoid() == 1).all()
