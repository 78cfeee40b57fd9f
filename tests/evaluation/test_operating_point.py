import numpy as np
import pytest

from paa.evaluation.metrics import evaluate
from paa.evaluation.operating_point import average_precision, best_point, envelope, precision_recall
from paa.inference.table import DetectionTable
from tests.evaluation.coco_sets import make_index, make_table, random_set

BOXES = [[100 * i, 0, 100 * i + 50, 50] for i in range(6)]


def test_worked_by_hand():
    """Four objects; right, wrong, right, right, wrong in order of score: precision 1, 1/2, 2/3, 3/4, 3/5.

    The envelope is 1 up to recall 1/4 and 3/4 up to recall 3/4: AP = 1/4 + 3/4 x 1/2 = 5/8. The best product is
    3/4 x 3/4 = 9/16, at the fourth detection: 9/10 of the AP.
    """
    index = make_index([(0, box, 0) for box in BOXES[:4]], images=1, classes=1)
    order = [BOXES[0], BOXES[5], BOXES[1], BOXES[2], BOXES[4]]
    table = make_table([(0, box, 0, 0.9 - 0.1 * i) for i, box in enumerate(order)])
    (curve,) = precision_recall(evaluate(index, table))
    np.testing.assert_allclose(curve.precision, [1, 1 / 2, 2 / 3, 3 / 4, 3 / 5])
    np.testing.assert_allclose(curve.recall, [1 / 4, 1 / 4, 1 / 2, 3 / 4, 3 / 4])
    assert (curve.objects, curve.ap, curve.ap_mean) == (4, pytest.approx(5 / 8), pytest.approx(5 / 8))
    assert (curve.point.precision, curve.point.recall) == (0.75, 0.75)
    assert curve.point.threshold == pytest.approx(0.6 - 1e-5)
    assert curve.point.product == pytest.approx(9 / 16)
    assert curve.share == pytest.approx(9 / 10)


def test_tied_scores_are_taken_or_left_together():
    """No threshold keeps the right one of two detections of equal score and drops the wrong one."""
    point = best_point(np.array([0.9, 0.9, 0.2]), np.array([1, 0.5, 1 / 3]), np.array([0.5, 0.5, 0.5]))
    assert (point.threshold, point.precision, point.recall) == (pytest.approx(0.9 - 1e-5), 0.5, 0.5)


@pytest.mark.parametrize("scores", [[0.9, 0.2], [0.9, 0.9 - 1e-6], [0.9]])
def test_a_threshold_lets_its_score_through_where_that_differs_in_its_last_digits(scores):
    """As in batches of another size; and it still leaves out the next lower score."""
    rows = np.array(scores)
    threshold = best_point(rows, np.linspace(1, 0.5, len(rows)), np.full(len(rows), 0.5)).threshold
    assert threshold < scores[0] - 4e-7
    assert all(score < threshold for score in scores[1:])


@pytest.mark.parametrize("seed", range(20))
def test_properties_of_any_curve(seed):
    rng = np.random.default_rng(seed)
    right = rng.random(rng.integers(1, 200)) < rng.random()
    objects = right.sum() + rng.integers(1, 50)
    scores = np.sort(rng.choice(rng.random(20), len(right)))[::-1]
    recall = np.cumsum(right) / objects
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    best = envelope(precision)
    assert (best >= precision).all()
    assert (np.diff(best) <= 0).all()
    ap = average_precision(precision, recall)
    assert 0 <= ap <= recall[-1]
    point = best_point(scores, precision, recall)
    if right.any():
        assert 0 < point.product <= ap + 1e-12
        kept = scores >= point.threshold
        assert point.precision == pytest.approx(right[kept].mean())
        assert point.recall == pytest.approx(right[kept].sum() / objects)
        for threshold in scores:
            kept = scores >= threshold
            assert right[kept].mean() * right[kept].sum() / objects <= point.product + 1e-12
    else:
        assert point is None


@pytest.mark.parametrize(("seed", "crowded"), [(0, False), (1, False), (2, True)])
def test_close_to_the_101_points(seed, crowded):
    """Another rule of summation over the same curve: the 101 points can differ by a step at each drop at most."""
    index, table = random_set(seed, images=60, crowded=crowded)
    evaluation = evaluate(index, table)
    for coco, ours in zip(evaluation.metrics.classes, precision_recall(evaluation)):
        assert ours.objects == coco.objects
        if coco.ap is None:
            assert (ours.ap, ours.ap_mean, ours.point, ours.share) == (None, None, None, None)
        else:
            assert ours.ap == pytest.approx(coco.ap50, abs=0.011)
            assert ours.ap_mean == pytest.approx(coco.ap, abs=0.011)
            assert 0 < ours.share <= 1


@pytest.mark.parametrize("seed", range(3))
def test_the_101_points_of_our_curve_are_cocos(seed):
    """The same matching, so the same digits, crowds and ties and all."""
    index, table = random_set(seed)
    evaluation = evaluate(index, table)
    for coco, ours in zip(evaluation.metrics.classes, precision_recall(evaluation)):
        if coco.ap50 is not None:
            at = np.searchsorted(ours.recall, np.linspace(0, 1, 101))
            sampled = np.append(envelope(ours.precision), 0)[np.minimum(at, len(ours.recall))]
            assert sampled.mean() == pytest.approx(coco.ap50, abs=1e-12)


def test_a_scale_of_the_scores_moves_only_the_threshold():
    index, table = random_set(5)
    halved = DetectionTable(table.image, table.boxes, table.scores / 2, table.labels)
    for a, b in zip(precision_recall(evaluate(index, table)), precision_recall(evaluate(index, halved))):
        assert (a.ap, a.ap_mean, a.share) == (b.ap, b.ap_mean, b.share)
        if a.point:
            assert b.point.threshold == pytest.approx(a.point.threshold / 2, abs=1e-5)


def test_a_stricter_iou_is_lower():
    evaluation = evaluate(*random_set(6))
    loose, strict = (precision_recall(evaluation, iou) for iou in (0.5, 0.9))
    for a, b in zip(loose, strict):
        if a.objects:
            assert b.ap < a.ap
            assert b.ap_mean == a.ap_mean


def test_no_detections_and_no_objects():
    index, table = random_set(0)
    nothing = table.select(np.zeros(len(table), bool))
    for curve in precision_recall(evaluate(index, nothing)):
        assert (curve.ap, curve.ap_mean) == ((0.0, 0.0) if curve.objects else (None, None))
        assert (curve.point, curve.share, len(curve.scores)) == (None, None, 0)
    for curve in precision_recall(evaluate(make_index([], images=len(index), classes=4), table)):
        assert (curve.ap, curve.ap_mean, curve.point, curve.share) == (None, None, None, None)


def test_a_crowd_leaves_the_curve_alone():
    objects = [(0, BOXES[0], 0), (0, BOXES[1], 0)]
    rows = [(0, BOXES[0], 0, 0.9), (0, BOXES[4], 0, 0.5)]
    on_crowd = [(0, [300, 5, 340, 40], 0, 0.95)]
    (plain,) = precision_recall(evaluate(make_index(objects, images=1, classes=1), make_table(rows)))
    crowd = make_index([*objects, (0, BOXES[3], 0, True)], images=1, classes=1)
    (beside,) = precision_recall(evaluate(crowd, make_table(rows + on_crowd)))
    np.testing.assert_array_equal(plain.precision, beside.precision)
    assert (plain.ap, plain.point) == (beside.ap, beside.point)
