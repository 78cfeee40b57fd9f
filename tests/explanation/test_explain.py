"""What is said of each object, against the assignment of each image by itself, and against other implementations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

import paa
from paa.assigners import ASSIGNERS, make_assigner
from paa.config import LoadingConfig
from paa.core import PaaAssigner, count_positives, decode, iou
from paa.data.batch import collate
from paa.data.images.read import read_image
from paa.data.index import DatasetIndex
from paa.data.read import read_dataset
from paa.data.transforms import Resize
from paa.errors import CheckpointError, ImageError
from paa.explanation import ObjectAssignment, explain, other_rules

LOADING = LoadingConfig(workers=0, batch_size=1)


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> paa.PAA:
    return paa.load(checkpoint, "cpu")


@pytest.fixture(scope="module")
def index(shapes: Path) -> DatasetIndex:
    return read_dataset(shapes, "train")


@pytest.fixture(scope="module")
def explained(model: paa.PAA, index: DatasetIndex) -> list[ObjectAssignment]:
    return list(explain(model, index, PaaAssigner(), other_rules(PaaAssigner()), LOADING))


def predictions(model: paa.PAA, index: DatasetIndex, i: int) -> tuple[paa.core.HeadOutputs, torch.Tensor, torch.Tensor]:
    """Return the outputs, the anchors and the boxes of an image by itself."""
    image = torch.from_numpy(read_image(index.path(i))).permute(2, 0, 1)
    boxes, _ = map(torch.from_numpy, index.targets(i))
    resized, boxes = Resize(model.config.min_size, model.config.max_size)(image, boxes)
    with torch.no_grad():
        outputs = model.eval()(*collate([resized]))
    return outputs, model.anchors(outputs), boxes


def test_each_object_once_with_the_assignment_of_training(
    model: paa.PAA, index: DatasetIndex, explained: list[ObjectAssignment]
) -> None:
    assert sorted(one.row for one in explained) == list(range(len(index.boxes)))
    for i in range(len(index)):
        outputs, anchors, boxes = predictions(model, index, i)
        labels = torch.from_numpy(index.targets(i)[1])
        expected = paa.assign(outputs, anchors, boxes[None], labels[None])
        own = sorted((one for one in explained if one.image == i), key=lambda one: one.row)
        for g, one in enumerate(own):
            places = expected.anchors[0, g, : int(expected.num_candidates[0, g])]
            assert one.positives == expected.num_positives[0, g]
            assert one.label == labels[g]
            np.testing.assert_array_equal(one.candidates.anchors, anchors[places])
            np.testing.assert_allclose(one.candidates.scores, expected.scores[0, g, : len(places)], rtol=1e-6)
            predicted = decode(outputs.deltas[0, places], anchors[places])
            np.testing.assert_allclose(one.candidates.true_ious, iou(predicted, boxes[g]), atol=1e-6)
            np.testing.assert_allclose(one.candidates.overlaps, iou(anchors[places], boxes[g]), atol=1e-6)
            np.testing.assert_allclose(one.candidates.predicted_ious, outputs.iou_logits[0, places].sigmoid(), 1e-5)
            own_logits = outputs.cls_logits[0, places, labels[g]]
            np.testing.assert_allclose(one.candidates.probabilities, own_logits.sigmoid(), 1e-5)
            assert one.best_overlap == pytest.approx(float(iou(anchors, boxes[g]).max()))
            starts = outputs.level_starts()
            levels = [sum(int(place) >= start for start in starts[1:-1]) for place in places]
            assert one.candidates.levels.tolist() == levels


def test_the_mixture_is_the_one_that_decided(explained: list[ObjectAssignment]) -> None:
    several = [one for one in explained if len(one.candidates) > 1]
    assert len(several) > 5
    for one in several:
        scores = one.candidates.scores
        assert one.mixture is not None
        count = count_positives(torch.from_numpy(scores)[None], torch.tensor([len(scores)]))
        assert one.positives == int(count)
        theirs = GaussianMixture(
            2, weights_init=[0.5, 0.5], means_init=[[scores[0]], [scores[-1]]], precisions_init=[[[1.0]], [[1.0]]]
        ).fit(scores[:, None])
        np.testing.assert_allclose(one.mixture.means, theirs.means_[:, 0], rtol=1e-6)
        np.testing.assert_allclose(one.mixture.weights, theirs.weights_, rtol=1e-6)
        np.testing.assert_allclose(one.mixture.variances, theirs.covariances_[:, 0, 0], rtol=1e-5)
        np.testing.assert_allclose(
            np.log(one.mixture.densities(scores).sum(0)), theirs.score_samples(scores[:, None]), rtol=1e-5
        )
        assert one.mixture.cuts(scores)["foreground"] == (theirs.predict(scores[:, None]) == 0).sum()
    assert {one.mixture for one in explained if len(one.candidates) < 2} <= {None}


def test_what_other_rules_do(model: paa.PAA, index: DatasetIndex, explained: list[ObjectAssignment]) -> None:
    rules = other_rules(PaaAssigner())
    assert {"per_level=3", "per_level=15", "match_iou=0.3", *ASSIGNERS} - {"paa"} <= rules.keys()
    assert "paa" not in rules
    for name in ("per_level=3", "match_iou=0.3", "atss", "simota"):
        alone = {one.row: one for one in explain(model, index, rules[name], loading=LOADING)}
        for one in explained:
            other, expected = one.what_if[name], alone[one.row]
            assert len(other.levels) == expected.positives
            np.testing.assert_array_equal(other.anchors, expected.candidates.anchors[: expected.positives])
            own = {tuple(anchor) for anchor in one.candidates.anchors[: one.positives].tolist()}
            assert other.shared == len(own & {tuple(anchor) for anchor in other.anchors.tolist()})
    fewer = [len(one.what_if["per_level=3"].levels) for one in explained]
    assert 0 < max(fewer) <= 3 * len(explained[0].levels)


@pytest.mark.parametrize("name", ["highest-iou", "one-to-one"])
def test_other_rules_have_no_mixture(model: paa.PAA, index: DatasetIndex, name: str) -> None:
    rule = make_assigner(name)
    explained = list(explain(model, index, rule, other_rules(rule), LOADING))
    assert {one.mixture for one in explained} == {None}
    assert max(one.positives for one in explained) > 0
    assert "paa" in explained[0].what_if
    assert name not in explained[0].what_if


def test_levels_are_those_of_the_model(explained: list[ObjectAssignment]) -> None:
    assert [tuple(level) for level in explained[0].levels] == [
        ("P3", 8, 64), ("P4", 16, 128), ("P5", 32, 256), ("P6", 64, 512), ("P7", 128, 1024)
    ]  # fmt: skip


def test_crowds_images_without_objects_and_objects_outside(model: paa.PAA, index: DatasetIndex) -> None:
    crowd, boxes = np.zeros_like(index.crowd), index.boxes.copy()
    crowd[index.offsets[1] : index.offsets[2]] = True  # of image 1 nothing is left
    crowd[0] = True
    outside = int(index.offsets[3])
    boxes[outside] = [3000, 3000, 3020, 3030]
    changed = replace(index, crowd=crowd, boxes=boxes)
    done: list[int] = []
    rules = other_rules(PaaAssigner())
    explained = {one.row: one for one in explain(model, changed, PaaAssigner(), rules, LOADING, advance=done.append)}
    assert sorted(explained) == np.flatnonzero(~crowd).tolist()
    assert sum(done) == len(index)
    lost = explained[outside]
    assert (lost.positives, len(lost.candidates), lost.best_overlap, lost.mixture, lost.cut) == (0, 0, 0, None, None)
    assert lost.per_level() == ([0] * 5, [0] * 5)


def test_batches_change_nothing(model: paa.PAA, index: DatasetIndex, explained: list[ObjectAssignment]) -> None:
    """A batch has empty slots for images with fewer objects."""
    together = {one.row: one for one in explain(model, index, loading=LoadingConfig(workers=0, batch_size=4))}
    for one in explained:
        assert together[one.row].positives == one.positives
        np.testing.assert_allclose(together[one.row].candidates.scores, one.candidates.scores, rtol=1e-3)


@pytest.mark.parametrize("part", ["cls_logits", "iou_logits"])
def test_a_network_that_has_diverged(checkpoint: Path, index: DatasetIndex, part: str) -> None:
    broken = paa.load(checkpoint, "cpu")
    torch.nn.init.constant_(getattr(broken.head, part).weight, torch.nan)
    with pytest.raises(CheckpointError, match=r"\.jpg: the model's predictions in this image are infinite or NaN"):
        list(explain(broken, index, PaaAssigner(), other_rules(PaaAssigner()), LOADING))


def test_an_image_that_cannot_be_read(model: paa.PAA, index: DatasetIndex) -> None:
    names = index.file_names.copy()
    names[2] = b"lost.jpg"
    broken = replace(index, file_names=names)
    with pytest.raises(ImageError, match=r"lost\.jpg"):
        list(explain(model, broken, loading=LOADING))
    lines: list[str] = []
    left = list(explain(model, broken, loading=replace(LOADING, skip_bad=True), leave_out=lines.extend))
    assert {one.image for one in left} == set(range(len(index))) - {2}
    assert len(lines) == 1
    assert "lost.jpg" in lines[0]
