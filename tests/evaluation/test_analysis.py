"""What hotcoco says beyond COCO's numbers, against scenes made by hand and against plain loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from paa.core.boxes import iou
from paa.evaluation.analysis import analyse
from paa.evaluation.bootstrap import CONFIDENCE
from paa.evaluation.calibration import calibration
from paa.evaluation.chosen_detections import at_operating_points
from paa.evaluation.confusion import BACKGROUND, confusion
from paa.evaluation.dataset import EvaluatedDataset
from paa.evaluation.error_kinds import ErrorKinds, error_kinds
from paa.evaluation.image_scores import ImageScore, image_scores, typical, worst
from paa.evaluation.label_errors import label_errors
from paa.evaluation.metrics import Evaluation, evaluate
from paa.evaluation.operating_point import precision_recall
from paa.evaluation.sizes import ap_by_size
from paa.evaluation.unseen import unseen
from paa.inference.table import DetectionTable
from tests.evaluation.coco_sets import grid_set, make_index, make_table, pycocotools_run, random_set

BOX = [0, 0, 100, 100]
FAR = [300, 300, 400, 400]
NEAR = [0, 0, 100, 30]  # of IoU 0.3 with BOX


def one_image(objects, rows, classes=2):
    """The evaluation of one image. objects: (box, label); rows: (box, label, score)."""
    index = make_index([(0, *one) for one in objects], images=1, classes=classes)
    return evaluate(index, make_table([(0, *row) for row in rows]))


def counts(evaluation: Evaluation) -> dict[str, int]:
    found = error_kinds(evaluation)
    assert isinstance(found, ErrorKinds)
    return {kind.name: kind.count for kind in found.kinds if kind.count}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(BOX, 0, 0.9)], {}),
        ([(BOX, 1, 0.9)], {"classification": 1}),
        ([(NEAR, 0, 0.9)], {"localisation": 1}),
        ([(NEAR, 1, 0.9)], {"both": 1, "missed": 1}),
        ([(BOX, 0, 0.9), (BOX, 0, 0.8)], {"duplicate": 1}),
        ([(BOX, 0, 0.9), (FAR, 0, 0.8)], {"background": 1}),
        ([(FAR, 0, 0.8)], {"background": 1, "missed": 1}),
        ([], {"missed": 1}),
    ],
)
def test_the_six_kinds_of_errors(rows, expected):
    """Missed is, in the paper too, an object that neither a classification nor a localisation error covers."""
    assert counts(one_image([(BOX, 0)], rows)) == expected


def test_what_errors_cost():
    """A wrong detection before the right one halves the AP; of two objects, one not found takes half of the recall."""
    found = error_kinds(one_image([(BOX, 0)], [(FAR, 0, 0.9), (BOX, 0, 0.8)], classes=1))
    assert found is not None
    assert found.ap50 == pytest.approx(0.5)
    assert {kind.name: kind.cost for kind in found.kinds}["background"] == pytest.approx(0.5)
    assert found.wrong == pytest.approx(0.5)
    assert found.missed == pytest.approx(0)
    found = error_kinds(one_image([(BOX, 0), (FAR, 0)], [(BOX, 0, 0.9)], classes=1))
    assert found is not None
    assert {kind.name: kind.cost for kind in found.kinds if kind.count} == {"missed": pytest.approx(1 - 51 / 101)}
    assert found.missed == pytest.approx(1 - 51 / 101)


def test_no_objects_no_kinds_of_errors():
    assert error_kinds(one_image([], [(BOX, 0, 0.5)])) is None


@pytest.mark.parametrize("made", [random_set(0, images=60), grid_set(2, images=40, classes=3)])
def test_ap_by_size_is_pycocotools_with_these_ranges(made):
    import contextlib
    import io

    found = ap_by_size(evaluate(*made))
    assert len(found) >= 4
    run = pycocotools_run(*made)
    run.params.areaRng = [[size.low**2, np.nextafter(size.high**2, 0)] for size in found]
    run.params.areaRngLbl = [size.name for size in found]
    with contextlib.redirect_stdout(io.StringIO()):
        run.evaluate()
        run.accumulate()
    for i, size in enumerate(found):
        precision, recall = run.eval["precision"][..., i, -1], run.eval["recall"][..., i, -1]
        assert size.ap == pytest.approx(precision[precision > -1].mean(), abs=1e-12)
        assert size.ap50 == pytest.approx(precision[0][precision[0] > -1].mean(), abs=1e-12)
        assert size.recall == pytest.approx(recall[0][recall[0] > -1].mean(), abs=1e-12)
        assert [c for c in size.classes if c is not None] == pytest.approx(
            [p.mean() for p in np.moveaxis(precision, 2, 0) if p.max() > -1]
        )
    index = made[0]
    assert sum(size.objects for size in found) == (~index.crowd).sum()
    assert sum(size.objects for size in found if size.high <= 32) == (~index.crowd & (index.areas < 1024)).sum()


def test_a_bound_belongs_to_the_larger_range():
    (size,) = ap_by_size(one_image([([0, 0, 32, 32], 0)], [([0, 0, 32, 32], 0, 0.5)]))
    assert (size.low, size.high, size.name) == (32, 64, "32 to 64")
    assert (size.ap, size.recall, size.classes) == (pytest.approx(1), 1, (pytest.approx(1), None))
    index = make_index([(0, [0, 0, 600, 600], 0)], images=1, classes=1)
    (size,) = ap_by_size(evaluate(index, DetectionTable.concatenate([])))
    assert (size.name, size.objects, size.ap) == ("from 512", 1, 0)
    assert ap_by_size(one_image([], [(BOX, 0, 0.5)])) == ()


def test_calibration_is_the_share_of_right_detections_in_each_bin():
    index, table = random_set(5, images=60)
    evaluation = evaluate(index, table)
    found = calibration(evaluation)
    assert found is not None
    verdicts = evaluation.verdicts(0.5)
    scores, right = evaluation.table.scores[verdicts >= 0].astype(float), verdicts[verdicts >= 0] == 1
    error = 0.0
    for i, one in enumerate(found.bins):
        inside = np.minimum((scores * 10).astype(int), 9) == i
        assert one.count == inside.sum() > 0
        assert one.score == pytest.approx(scores[inside].mean())
        assert one.right == pytest.approx(right[inside].mean())
        error += inside.mean() * abs(one.score - one.right)
    assert found.error == pytest.approx(error)
    assert found.largest == pytest.approx(max(abs(one.score - one.right) for one in found.bins))
    assert set(found.classes) <= set(index.names)


def test_scores_beyond_one_have_no_calibration():
    index, table = random_set(5)
    assert calibration(evaluate(index, replace(table, scores=table.scores * 2))) is None
    assert calibration(evaluate(index, DetectionTable.concatenate([]))) is None


def test_the_confusion_matrix():
    """A class taken for another, one found, one missed, and one where no object is."""
    evaluation = one_image(
        [(BOX, 0), (FAR, 1), ([600, 0, 700, 100], 1)],
        [(BOX, 1, 0.9), (FAR, 1, 0.8), ([0, 600, 100, 700], 0, 0.7)],
    )
    found = confusion(evaluation)
    assert found.counts.tolist() == [[0, 1, 0], [0, 1, 1], [1, 0, 0]]
    assert found.mistakes() == [("class 0", "class 1", 1), ("class 1", BACKGROUND, 1), (BACKGROUND, "class 0", 1)]


def test_detections_that_do_not_count_are_in_no_table():
    index = make_index([(0, BOX, 0)], images=1, classes=2)
    crowd = replace(index, crowd=np.array([True]))
    rows = make_table([(0, BOX, 0, 0.9), (0, NEAR, 0, 0.8)])
    evaluation = evaluate(crowd, rows)
    assert evaluation.verdicts(0.5).tolist() == [-1, -1]
    assert confusion(evaluation).counts.sum() == 0
    assert confusion(evaluation).mistakes() == []
    assert calibration(evaluation) is None
    both = evaluate(crowd, make_table([(0, BOX, 0, 0.9), (0, FAR, 1, 0.8)]))
    assert confusion(both).mistakes() == [(BACKGROUND, "class 1", 1)]


def test_what_lies_on_a_difficult_object_is_no_mistake_in_any_class():
    """COCO's numbers, which know crowds of a class's own alone, count it as wrong; but something is there."""
    index = make_index([(0, BOX, 0), (0, FAR, 1)], images=1, classes=2)
    difficult = replace(index, crowd=np.array([True, False]))
    evaluation = evaluate(difficult, make_table([(0, NEAR, 1, 0.9), (0, FAR, 0, 0.8), (0, [600, 0, 700, 100], 0, 0.7)]))
    assert evaluation.verdicts(0.5).tolist() == [0, 0, 0]
    assert confusion(evaluation).mistakes() == [("class 1", "class 0", 1), (BACKGROUND, "class 0", 1)]
    found = label_errors(evaluation)
    assert [(error.kind, error.score) for error in found] == [
        ("wrong class", pytest.approx(0.8)),
        ("missing", pytest.approx(0.7)),
    ]


def test_the_confusion_matrix_counts_every_detection_of_a_crowded_image():
    places = [[20 * (i % 15), 20 * (i // 15), 20 * (i % 15) + 10, 20 * (i // 15) + 10] for i in range(150)]
    objects = [(place, i % 2) for i, place in enumerate(places)]
    found = confusion(one_image(objects, [(place, label, 0.9) for place, label in objects]))
    assert found.counts.tolist() == [[75, 0, 0], [0, 75, 0], [0, 0, 0]]


def test_chosen_detections_are_those_at_the_operating_points():
    index, table = random_set(6, images=60)
    evaluation = evaluate(index, table, max_detections=150)
    curves = precision_recall(evaluation)
    chosen = at_operating_points(evaluation, curves)
    for label, curve in enumerate(curves):
        own = chosen.table.select(chosen.table.labels == label)
        if curve.point is None:
            continue
        assert 0 < own.scores.min() - curve.point.threshold <= 1.1e-5
        verdicts = chosen.verdicts(0.5)[chosen.table.labels == label]
        assert (verdicts == 1).sum() / (verdicts >= 0).sum() == pytest.approx(curve.point.precision)
        assert (verdicts == 1).sum() / curve.objects == pytest.approx(curve.point.recall)
    without_objects = chosen.table.labels == 3
    assert (chosen.table.scores[without_objects] >= 0.5).all()
    assert chosen.run.params.max_dets == [1, 10, 150]


def test_image_scores_count_what_was_found_in_each_image():
    index, table = random_set(7, images=40)
    evaluation = evaluate(index, table)
    scores = image_scores(evaluation)
    assert [score.image for score in scores] == list(range(40))
    verdicts = evaluation.verdicts(0.5)
    for score in scores:
        own = verdicts[evaluation.table.image == score.image]
        assert (score.right, score.wrong) == ((own == 1).sum(), (own == 0).sum())
        rows = slice(evaluation.index.offsets[score.image], evaluation.index.offsets[score.image + 1])
        assert score.right + score.missed == (~evaluation.index.crowd[rows]).sum()


def test_worst_and_typical_images():
    scores = [ImageScore(0, 5, 0, 0), ImageScore(1, 0, 1, 1), ImageScore(2, 0, 0, 0), ImageScore(3, 3, 1, 1)]
    scores += [ImageScore(4, 0, 4, 1), ImageScore(5, 2, 1, 1)]
    assert [score.f1 for score in scores[:4]] == [1, 0, 1, 0.75]
    assert [score.image for score in worst(scores, 3)] == [4, 1, 5]
    assert [score.image for score in worst(scores, 99)] == [4, 1, 5, 3]
    assert [score.image for score in typical(scores, 1)] == [5]
    assert [score.image for score in typical(scores, 99)] == [1, 4, 5, 3, 0]


def test_annotations_that_detections_contradict():
    evaluation = one_image(
        [(BOX, 0), (FAR, 1), ([600, 0, 700, 100], 1)],
        [(BOX, 1, 0.8), (FAR, 1, 0.95), ([0, 600, 100, 700], 0, 0.9), ([600, 0, 700, 100], 1, 0.3)],
    )
    missing, wrong = label_errors(evaluation)
    assert (missing.kind, missing.image, missing.label, missing.annotated) == ("missing", 0, 0, None)
    assert missing.box.tolist() == [0, 600, 100, 700]
    assert missing.score == pytest.approx(0.9)
    assert (wrong.kind, wrong.label, wrong.annotated) == ("wrong class", 1, (0, 0))


def test_a_broken_annotation_of_a_real_scene_is_found_first():
    """Perfect detections; then one annotation is removed and one gets another class."""
    index, _ = random_set(8, images=30)
    index = replace(index, crowd=np.zeros_like(index.crowd))
    boxes = torch.from_numpy(index.boxes)
    overlap = iou(boxes[:, None], boxes[None]).numpy()
    image = np.repeat(np.arange(len(index)), np.diff(index.offsets))
    alone = ((overlap * (image[:, None] == image)).sum(1) < 1.01).nonzero()[0]
    changed, removed = alone[:2]
    scores = np.random.default_rng(0).uniform(0.6, 0.9, len(image)).astype(np.float32)
    scores[[changed, removed]] = 0.95, 0.99
    table = DetectionTable(image, index.boxes, scores, index.labels)
    labels = index.labels.copy()
    labels[changed] = (labels[changed] + 1) % 3
    kept = np.arange(len(labels)) != removed
    offsets = np.concatenate([[0], np.cumsum(np.bincount(image[kept], minlength=len(index)))])
    columns = {"boxes": index.boxes[kept], "labels": labels[kept], "crowd": index.crowd[kept]}
    broken = replace(index, **columns, areas=index.areas[kept], offsets=offsets)
    first, second = label_errors(evaluate(broken, table))[:2]
    assert (first.kind, second.kind) == ("missing", "wrong class")
    np.testing.assert_array_equal(first.box, index.boxes[removed])
    assert second.label == index.labels[changed]


def test_objects_that_are_not_seen():
    """Seen at a low score; found as another class; found nearby; not found; and a crowd, which nobody looks for."""
    objects = [(BOX, 0), (FAR, 1), ([600, 0, 700, 100], 0), ([600, 600, 640, 640], 1), ([800, 0, 990, 190], 0)]
    index = make_index([(0, *one) for one in objects], images=1, classes=2)
    index = replace(index, crowd=np.array([False, False, False, False, True]))
    rows = [(BOX, 0, 0.01), (FAR, 0, 0.9), ([600, 0, 700, 30], 0, 0.4)]
    nothing, near, other = unseen(evaluate(index, make_table([(0, *row) for row in rows])))
    assert (nothing.row, nothing.overlap, nothing.found) == (3, 0, None)
    assert (near.row, near.found) == (2, (0, pytest.approx(0.4)))
    assert near.overlap == pytest.approx(0.3)
    assert (other.row, other.found) == (1, (0, pytest.approx(0.9)))
    assert other.overlap == 1


def test_large_objects_that_are_not_seen_come_first():
    index = make_index([(1, [0, 0, 9, 9], 0), (2, BOX, 0), (0, [0, 0, 50, 50], 0)], images=3, classes=1)
    assert [index.areas[one.row] for one in unseen(evaluate(index, make_table([])))] == [10000, 2500, 81]


def test_what_is_not_seen_by_plain_loops():
    evaluation = evaluate(*random_set(5, images=20))
    index, table = evaluation.index, evaluation.table
    image = np.repeat(np.arange(len(index)), np.diff(index.offsets))
    expected = set()
    for row in np.flatnonzero(~index.crowd):
        own = (table.image == image[row]) & (table.labels == index.labels[row])
        overlaps = iou(torch.from_numpy(index.boxes[row]), torch.from_numpy(table.boxes[own]))
        if not (overlaps >= 0.5).any():
            expected.add(int(row))
    found = unseen(evaluation)
    assert {one.row for one in found} == expected
    assert len(found) == len(expected) > 3
    assert all(image[one.row] == one.image for one in found)


def test_an_annotation_of_nothing_is_found_first():
    """Perfect detections; then an object is annotated where none is."""
    index = make_index([(i, BOX, 0) for i in range(5)] + [(3, FAR, 1)], images=5, classes=2)
    only = unseen(evaluate(index, make_table([(i, BOX, 0, 0.3) for i in range(5)])))
    assert [(one.image, index.boxes[one.row].tolist()) for one in only] == [(3, FAR)]


def test_an_analysis_has_all_of_it():
    index, table = random_set(9, images=30)
    evaluated = EvaluatedDataset(index, table, evaluate(index, table), [])
    analysis = analyse(evaluated, draws=40)
    assert analysis.intervals is not None
    assert analysis.intervals.draws == 40
    low, high = analysis.intervals.measures["AP"] or (1, 0)
    assert low < high
    assert CONFIDENCE == 0.95
    assert len(analysis.images) == 30
    assert analysis.sizes
    assert analysis.errors
    assert analysis.calibration
    assert analysis.label_errors
    assert [error.score for error in analysis.label_errors] == sorted(e.score for e in analysis.label_errors)[::-1]
    assert analysis.confusion.counts.sum() > 0
    assert analyse(evaluated, draws=0).intervals is None


def test_an_analysis_of_nothing():
    for objects, rows in (([], []), ([(BOX, 0)], []), ([], [(BOX, 0, 0.9)])):
        evaluation = one_image(objects, rows)
        analysis = analyse(EvaluatedDataset(evaluation.index, evaluation.table, evaluation, []), draws=20)
        assert analysis.intervals is not None
        assert analysis.confusion.counts.sum() == len(objects) + len(rows)
