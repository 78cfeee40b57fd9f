"""Predicted against true IoU: of detectors that know the truth, and of one that knows nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import paa
from paa.config import InferenceConfig, LoadingConfig, TilesConfig
from paa.core.boxes import iou
from paa.core.outputs import HeadOutputs
from paa.data.index import DatasetIndex
from paa.data.read import read_dataset
from paa.evaluation.predicted_iou import predicted_iou
from tests.conftest import MODEL

CPU = torch.device("cpu")
LOADING = LoadingConfig(workers=0)


class Knowing:
    """A detector of one image whose anchors lie near the objects, moved to the right by a share of their width.

    predict: from the true IoU of its boxes to the IoU that it predicts. label: added to the objects' labels.
    """

    config, resizes = MODEL, False

    def __init__(self, index: DatasetIndex, predict: Any, label: int = 0) -> None:
        self.index, self.predict, self.label = index, predict, label

    def __call__(self, images: torch.Tensor, sizes: torch.Tensor) -> HeadOutputs:
        boxes, labels = (torch.from_numpy(values) for values in self.index.targets(0))
        height, width = self.index.sizes[0].tolist()
        scale = torch.tensor([sizes[0, 1] / width, sizes[0, 0] / height]).repeat(2)
        truth = (boxes * scale).float()
        shift = torch.linspace(0, 0.35, len(truth))[:, None] * (truth[:, 2:3] - truth[:, :1])
        self.boxes = truth + shift * torch.tensor([1.0, 0, 1, 0])
        self.boxes[:, 2] = self.boxes[:, 2].clamp(max=float(sizes[0, 1]))
        self.true = iou(self.boxes, truth)
        logits = torch.full((1, len(truth), 4), -9.0)
        logits[0, torch.arange(len(truth)), (labels + self.label) % 4] = 3.0
        predicted = torch.as_tensor(self.predict(self.true)).expand(len(truth))
        return HeadOutputs(logits, torch.zeros(1, len(truth), 4), predicted.logit()[None], ((len(truth), 1),))

    def anchors(self, outputs: HeadOutputs) -> torch.Tensor:
        return self.boxes


@pytest.fixture(scope="module")
def index(shapes: Path) -> DatasetIndex:
    """Return the image with the most objects."""
    whole = read_dataset(shapes)
    return whole.select(np.array([int(np.diff(whole.offsets).argmax())]))


def measure(detector: Any, index: DatasetIndex, **options: Any) -> Any:
    return predicted_iou(detector, index, CPU, InferenceConfig(nms_iou=1.0), LOADING, **options)


def test_a_detector_that_knows_the_truth(index: DatasetIndex) -> None:
    detector = Knowing(index, lambda true: true.clamp(max=0.9999))
    found = measure(detector, index)
    assert found.images == 1
    assert sum(one.count for one in found.bins) == len(index.labels) >= 3
    assert found.error == pytest.approx(0, abs=1e-3)
    assert found.correlation == pytest.approx(1, abs=1e-3)
    for one in found.bins:
        if one.count:
            assert one.low <= one.predicted <= one.high
            assert one.true == pytest.approx(one.predicted, abs=1e-3)


def test_a_detector_that_always_predicts_the_same(index: DatasetIndex) -> None:
    detector = Knowing(index, lambda true: torch.tensor(0.25))
    found = measure(detector, index)
    assert found.correlation is None
    assert found.error == pytest.approx(float((detector.true - 0.25).abs().mean()), abs=1e-5)
    (used,) = (one for one in found.bins if one.count)
    assert (used.low, used.true) == (0.2, pytest.approx(float(detector.true.mean()), abs=1e-5))


def test_boxes_of_another_class_have_no_iou(index: DatasetIndex) -> None:
    circles = replace(index, labels=np.zeros_like(index.labels))
    assert measure(Knowing(circles, lambda true: true * 0.9), circles) is not None
    assert measure(Knowing(circles, lambda true: true * 0.9, label=1), circles) is None


def test_the_threshold_is_of_the_score_that_detection_compares(index: DatasetIndex) -> None:
    """In MMDetection's models of the joint score: here 0.95 for the class, and 0.22 with a predicted IoU of 0.05."""
    options = InferenceConfig(candidate_threshold=0.5)
    for joint, kept in ((False, True), (True, False)):
        detector = Knowing(index, lambda true: torch.tensor(0.05))
        detector.config = replace(MODEL, threshold_joint=joint)
        assert (predicted_iou(detector, index, CPU, options, LOADING) is not None) == kept


def test_a_sample_of_the_images(shapes: Path, checkpoint: Path) -> None:
    model, whole = paa.load(checkpoint, "cpu"), read_dataset(shapes)
    few = predicted_iou(model, whole, CPU, InferenceConfig(), LOADING, images=3)
    all_of_them = predicted_iou(model, whole, CPU, InferenceConfig(), LOADING)
    assert few is not None
    assert all_of_them is not None
    assert (few.images, all_of_them.images) == (3, len(whole))
    counts = [sum(one.count for one in found.bins) for found in (few, all_of_them)]
    assert 0 < counts[0] < counts[1]
    tiled = InferenceConfig(tiles=TilesConfig(64))
    assert predicted_iou(model, whole, CPU, tiled, LOADING) is None  # whole images would say nothing about tiles


def test_the_network_computes_in_the_precision_of_the_evaluation(shapes: Path, checkpoint: Path) -> None:
    model, whole = paa.load(checkpoint, "cpu"), read_dataset(shapes)
    exact, rounded = (
        predicted_iou(model, whole, CPU, InferenceConfig(precision=precision), LOADING, images=2)
        for precision in ("float32", "bfloat16")
    )
    assert exact is not None
    assert rounded is not None
    assert exact.error != rounded.error
    assert rounded.error == pytest.approx(exact.error, abs=0.02)
