"""COCO's greedy matching, as hotcoco does it: rules by hand, and every verdict against pycocotools."""

import numpy as np
import pytest
from hotcoco.primitives import bbox_iou
from pycocotools import mask

from paa.evaluation.coco_results import xywh
from paa.evaluation.metrics import evaluate
from paa.inference.table import DetectionTable
from tests.evaluation.coco_sets import grid_set, make_index, make_table, pycocotools_run, random_set

BOX = [0, 0, 100, 100]
COCO_IOUS = np.linspace(0.5, 0.95, 10).tolist()
RIGHT, WRONG, IGNORED = 1, 0, -1


def verdicts(objects, rows, iou=0.5):
    """The verdict on each detection in one image of one class, in order."""
    return evaluate(make_index(objects, images=1, classes=1), make_table(rows)).verdicts(iou).tolist()


def test_an_object_is_found_once_by_the_best_detection():
    assert verdicts([(0, BOX, 0)], [(0, BOX, 0, 0.3), (0, [0, 0, 100, 90], 0, 0.8)]) == [WRONG, RIGHT]


def test_a_detection_takes_the_free_object_of_highest_iou():
    """The second detection gets its second choice, since its first is taken."""
    objects = [(0, BOX, 0), (0, [0, 20, 100, 120], 0)]
    assert verdicts(objects, [(0, BOX, 0, 0.9), (0, [0, 2, 100, 102], 0, 0.8)]) == [RIGHT, RIGHT]
    assert verdicts(objects, [(0, BOX, 0, 0.9), (0, [0, 2, 100, 102], 0, 0.8)], iou=0.75) == [RIGHT, WRONG]


def test_a_real_object_goes_before_a_crowd_and_a_crowd_takes_any_number():
    objects = [(0, [0, 0, 400, 400], 0, True), (0, BOX, 0)]
    rows = [(0, BOX, 0, 0.9), (0, BOX, 0, 0.8), (0, [200, 200, 300, 300], 0, 0.7), (0, [390, 390, 490, 490], 0, 0.6)]
    assert verdicts(objects, rows) == [RIGHT, IGNORED, IGNORED, WRONG]


def test_classes_and_images_do_not_mix():
    index = make_index([(0, BOX, 0), (1, BOX, 1)], images=2, classes=2)
    evaluation = evaluate(index, make_table([(0, BOX, 1, 0.9), (1, BOX, 0, 0.9)]))
    assert evaluation.verdicts(0.5).tolist() == [WRONG, WRONG]
    assert [c.objects for c in evaluation.metrics.classes] == [1, 1]


def test_only_the_best_hundred_of_a_class_and_image_count():
    index = make_index([(0, BOX, 0), (0, BOX, 1)], images=1, classes=2)
    table = make_table([(0, BOX, 0, 0.1), (0, BOX, 1, 0.05)] + [(0, [200, 200, 300, 300], 0, 0.9)] * 100)
    evaluation = evaluate(index, table)
    assert evaluation.verdicts(0.5).tolist() == [IGNORED, RIGHT] + [WRONG] * 100
    assert evaluation.metrics["AR100"] == 0.5
    more = evaluate(index, table, max_detections=101)
    assert more.verdicts(0.5).tolist() == [RIGHT, RIGHT] + [WRONG] * 100
    assert (more.metrics["AR10"], more.metrics["AR101"]) == (0.5, 1.0)


def test_a_detection_takes_an_object_of_another_size_only_if_none_of_this_size_is_left():
    """The first detection overlaps the large object better, but counts for the medium one when that is asked for.

    Whichever of the two it finds, the second detection, on the other, and the third, small and wrong, do not count.
    """
    large, medium = [0, 0, 100, 100], [0, 0, 100, 90]
    rows = [(0, [0, 0, 100, 98], 0, 0.9), (0, large, 0, 0.8), (0, [300, 0, 310, 10], 0, 0.7)]
    evaluation = evaluate(make_index([(0, large, 0), (0, medium, 0)], images=1, classes=1), make_table(rows))
    precision, recall = (evaluation.run.eval[name][0, ..., -1] for name in ("precision", "recall"))
    assert recall[0].tolist() == [1, -1, 1, 1]
    np.testing.assert_allclose(precision[:, 0, [0, 2, 3]], 1)


SETS = [
    *(random_set(seed, crowded=crowded) for seed, crowded in ((0, False), (1, False), (2, True))),
    *(grid_set(seed, images=20, classes=3) for seed in range(4)),
    grid_set(5, images=3, classes=1, objects=8, detections=300),
    grid_set(6, images=8, classes=2, crowds=1),
    grid_set(7, images=8, classes=2, objects=0),
]


@pytest.mark.parametrize("number", range(len(SETS)))
def test_every_verdict_and_every_number_is_pycocotools(number):
    """Of every image and class, at all ten thresholds, with ties and crowds; the numbers, at all four sizes too."""
    index, table = SETS[number]
    reference, ours = pycocotools_run(index, table), evaluate(index, table)
    expected = np.full((len(COCO_IOUS), len(table)), IGNORED)
    for entry in reference.evalImgs:
        if entry is not None and entry["aRng"] == reference.params.areaRng[0]:
            rows = np.array(entry["dtIds"], np.int64) - 1
            expected[:, rows] = np.where(entry["dtIgnore"], IGNORED, entry["dtMatches"] > 0)
    np.testing.assert_array_equal([ours.verdicts(iou) for iou in COCO_IOUS], expected)
    for name in ("precision", "recall", "scores"):
        np.testing.assert_array_equal(ours.run.eval[name], reference.eval[name])


@pytest.mark.parametrize("seed", range(3))
def test_every_bit_of_an_iou_is_pycocotools(seed):
    """Boxes of many magnitudes, empty and turned around ones, crowds."""
    rng = np.random.default_rng(seed)
    boxes = np.abs(rng.normal(size=(200, 4)) * 10.0 ** rng.integers(-1, 4, (200, 1))).astype(np.float32)
    boxes[20:, 2:] += boxes[20:, :2]
    boxes[:20:2, 2] = boxes[:20:2, 0]
    crowd = rng.random(200) < 0.3
    sides = xywh(boxes)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = mask.iou(sides, sides, crowd.astype(np.uint8).tolist())
    assert 0.05 < (expected > 0).mean() < 0.95
    np.testing.assert_array_equal(bbox_iou(sides, sides, crowd), expected)


@pytest.mark.parametrize("seed", range(3))
def test_a_stricter_threshold_finds_no_more_and_nothing_is_found_twice(seed):
    evaluation = evaluate(*random_set(seed))
    found = [(evaluation.verdicts(iou) == RIGHT).sum() for iou in COCO_IOUS]
    assert (np.diff(found) <= 0).all()
    assert found[0] <= sum(c.objects for c in evaluation.metrics.classes)


def test_an_iou_that_is_no_threshold_of_cocos_is_refused():
    evaluation = evaluate(*random_set(0))
    np.testing.assert_array_equal(evaluation.verdicts(0.6), evaluation.verdicts(COCO_IOUS[2]))
    for iou in (0.33, 0.51, float("nan")):
        with pytest.raises(ValueError, match=rf"expected an IoU of 0\.50, .*, 0\.95, got {iou}"):
            evaluation.verdicts(iou)


def test_no_detections_and_no_objects():
    index, table = random_set(0)
    nothing = table.select(np.zeros(len(table), bool))
    blank = make_index([], images=len(index), classes=4)
    for data, found in ((index, nothing), (blank, nothing), (blank, table)):
        evaluation = evaluate(data, found)
        assert len(evaluation.verdicts(0.5)) == len(found)
        assert RIGHT not in evaluation.verdicts(0.5)
    assert [c.objects for c in evaluation.metrics.classes] == [0] * 4
    assert len(evaluate(index, table, images=np.zeros(0, np.int64)).verdicts(0.5)) == 0


def test_only_the_chosen_images_count():
    index, table = random_set(4)
    images = np.array([2, 9, 5])
    rows = np.isin(table.image, images)
    chosen = np.sort(images)
    smaller = DetectionTable(
        np.searchsorted(chosen, table.image[rows]), table.boxes[rows], table.scores[rows], table.labels[rows]
    )
    a, b = evaluate(index, table, images=images), evaluate(index.select(chosen), smaller)
    assert a.metrics == b.metrics
    for iou in COCO_IOUS:
        np.testing.assert_array_equal(a.verdicts(iou), b.verdicts(iou))
