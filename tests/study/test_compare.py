"""All rules on one model: the overlap is that of sets of pairs, and every rule has a cost."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import paa
from paa.assigners import make_assigner
from paa.config import LoadingConfig
from paa.data.loader import eval_loader
from paa.data.read import read_dataset
from paa.data.transforms import Resize
from paa.errors import ImageError
from paa.model.detector import Detector
from paa.study.compare import compare_on
from paa.weights.read import build, read_weights
from tests.training.runs import CPU, cut_after_reading

RULES = ("paa", "atss", "highest-iou", "paa(per_level=3)")


def test_overlap_is_that_of_sets(checkpoint: Path, shapes: Path) -> None:
    detector = build(read_weights(checkpoint), "checkpoint", Detector)
    index, rules = read_dataset(shapes, "train", names=detector.names), {text: make_assigner(text) for text in RULES}
    found = compare_on(detector, index, rules, 4, CPU)
    assert (found.images, found.batch, found.objects) == (len(index), 4, int((~index.crowd).sum()))

    pairs: dict[str, set[tuple[int, int, int]]] = {text: set() for text in RULES}
    for batch in eval_loader(index, Resize(64, 96), CPU, LoadingConfig(0, batch_size=1)):
        with torch.no_grad():
            outputs = detector(batch.images, batch.sizes)
        for text, rule in rules.items():
            given = outputs, detector.anchors(outputs), batch.gt_boxes, batch.gt_labels
            owner = paa.assign(*given, assigner=rule).objects(outputs.deltas.shape[1])[0]
            pairs[text] |= {(int(batch.positions[0]), n, o) for n, o in enumerate(owner.tolist()) if o >= 0}
    for i, one in enumerate(RULES):
        assert found.positives[one] == pytest.approx(len(pairs[one]) / found.objects)
        for j, other in enumerate(RULES):
            jaccard = len(pairs[one] & pairs[other]) / len(pairs[one] | pairs[other])
            assert found.overlap[i][j] == pytest.approx(jaccard, abs=1e-4)
    assert found.overlap[0][1] < 1

    for cost in found.costs.values():
        assert 0 < cost.quartiles[0] <= cost.milliseconds <= cost.quartiles[1]
        assert cost.ratio > 0
    assert set(found.costs) == set(RULES)


def test_images_that_cannot_be_read_are_left_out(checkpoint: Path, shapes: Path, tmp_path: Path) -> None:
    detector = build(read_weights(checkpoint), "checkpoint", Detector)
    index, _ = cut_after_reading(shapes, tmp_path / "data", detector.names)
    rules = {"paa": make_assigner("paa")}
    assert compare_on(detector, index, rules, 4, CPU, skip_bad=True).images == len(index) - 1
    with pytest.raises(ImageError):
        compare_on(detector, index, rules, 4, CPU)
