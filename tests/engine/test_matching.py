import numpy as np
import pytest
from coco_sets import make_index, make_table, random_set

from paa.engine.matching import COCO_IOUS, match
from paa.engine.metrics import DetectionTable

BOX = [0, 0, 100, 100]


def verdicts(objects, rows, iou=0.5):
    """'right', 'wrong' or 'ignored' for each detection, best first, in one picture of one class."""
    matches = match(make_index(objects, pictures=1, classes=1), make_table(rows), ious=(iou,))
    names = np.where(matches.right[0], "right", np.where(matches.ignored[0], "ignored", "wrong"))
    assert (np.diff(matches.scores) <= 0).all()
    return names.tolist()


def test_an_object_is_found_once_by_the_best_detection():
    assert verdicts([(0, BOX, 0)], [(0, BOX, 0, 0.3), (0, [0, 0, 100, 90], 0, 0.8)]) == ["right", "wrong"]


def test_a_detection_takes_the_free_object_of_highest_iou():
    """The second choice of the second detection: its first is taken."""
    objects = [(0, BOX, 0), (0, [0, 20, 100, 120], 0)]
    assert verdicts(objects, [(0, BOX, 0, 0.9), (0, [0, 2, 100, 102], 0, 0.8)]) == ["right", "right"]
    assert verdicts(objects, [(0, BOX, 0, 0.9), (0, [0, 2, 100, 102], 0, 0.8)], iou=0.75) == ["right", "wrong"]


def test_a_real_object_goes_before_a_crowd_and_a_crowd_takes_any_number():
    objects = [(0, [0, 0, 400, 400], 0, True), (0, BOX, 0)]
    rows = [(0, BOX, 0, 0.9), (0, BOX, 0, 0.8), (0, [200, 200, 300, 300], 0, 0.7), (0, [390, 390, 490, 490], 0, 0.6)]
    assert verdicts(objects, rows) == ["right", "ignored", "ignored", "wrong"]


def test_classes_and_pictures_do_not_mix():
    index = make_index([(0, BOX, 0), (1, BOX, 1)], pictures=2, classes=2)
    matches = match(index, make_table([(0, BOX, 1, 0.9), (1, BOX, 0, 0.9)]), ious=(0.5,))
    assert not matches.right.any()
    assert matches.objects.tolist() == [1, 1]


def test_only_the_best_hundred_of_a_class_and_picture_count():
    index = make_index([(0, BOX, 0), (0, BOX, 1)], pictures=1, classes=2)
    rows = [(0, [200, 200, 300, 300], 0, 0.9)] * 100 + [(0, BOX, 0, 0.1), (0, BOX, 1, 0.05)]
    matches = match(index, make_table(rows), ious=(0.5,))
    assert np.bincount(matches.labels).tolist() == [100, 1]
    assert matches.right[0].tolist() == [False] * 100 + [True]


@pytest.mark.parametrize(("seed", "crowded"), [(0, False), (1, False), (2, True)])
def test_every_verdict_is_pycocotools(seed, crowded):
    """Per picture and class, at all ten thresholds, with ties and crowds."""
    from pycocotools.cocoeval import COCOeval

    from paa.engine.metrics import _detections, _ground_truths, _run

    index, table = random_set(seed, crowded=crowded)
    shared = {
        "images": [{"id": int(i)} for i in index.image_ids],
        "categories": [{"id": c} for c in range(len(index.names))],
    }
    run = _run(
        "pycocotools",
        {**shared, "annotations": _ground_truths(index)},
        {**shared, "annotations": _detections(index, table)},
    )
    assert isinstance(run, COCOeval)
    matches = match(index, table)
    pictures = len(index)
    for label in range(len(index.names)):
        entries = run.evalImgs[label * 4 * pictures : (label * 4 + 1) * pictures]  # all sizes come first of four
        entries = [e for e in entries if e is not None]
        rows = matches.labels == label
        assert matches.scores[rows].tolist() == [score for e in entries for score in e["dtScores"]]
        ignored = np.concatenate([e["dtIgnore"] for e in entries], axis=1)
        matched = np.concatenate([e["dtMatches"] for e in entries], axis=1) > 0
        np.testing.assert_array_equal(matches.right[:, rows], matched & ~ignored)
        np.testing.assert_array_equal(matches.ignored[:, rows], ignored)


@pytest.mark.parametrize("seed", range(3))
def test_a_stricter_threshold_finds_no_more_and_nothing_is_found_twice(seed):
    index, table = random_set(seed)
    matches = match(index, table)
    found = matches.right.sum(axis=1)
    assert (np.diff(found) <= 0).all()
    assert found[0] <= matches.objects.sum()
    assert not (matches.right & matches.ignored).any()


def test_no_detections_and_no_objects():
    index, table = random_set(0)
    nothing = table.select(np.zeros(len(table), bool))
    assert match(index, nothing).right.shape == (len(COCO_IOUS), 0)
    blank = make_index([], pictures=len(index), classes=4)
    assert match(blank, nothing).objects.tolist() == [0] * 4
    assert not match(blank, table).right.any()
    assert match(index, table, images=np.zeros(0, np.int64)).right.shape == (len(COCO_IOUS), 0)


def test_only_the_chosen_pictures_count():
    index, table = random_set(4)
    images = np.array([2, 9, 5])
    rows = np.isin(table.image, images)
    chosen = np.sort(images)
    smaller = DetectionTable(
        np.searchsorted(chosen, table.image[rows]), table.boxes[rows], table.scores[rows], table.labels[rows]
    )
    a, b = match(index, table, images=images), match(index.select(chosen), smaller)
    for left, right in zip(vars(a).values(), vars(b).values()):
        np.testing.assert_array_equal(left, right)
