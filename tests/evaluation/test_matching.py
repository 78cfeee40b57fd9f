import contextlib
import io
import itertools

import numpy as np
import pytest

from paa.evaluation import matching
from paa.evaluation.coco_results import xywh
from paa.evaluation.matching import COCO_IOUS, COCO_SIZES, match
from paa.evaluation.metrics import coco_eval
from paa.inference.table import DetectionTable
from tests.evaluation.coco_sets import grid_set, make_index, make_table, random_set

BOX = [0, 0, 100, 100]


def verdicts(objects, rows, iou=0.5):
    """'right', 'wrong' or 'ignored' for each detection, best first, in one image of one class."""
    matches = match(make_index(objects, images=1, classes=1), make_table(rows), ious=(iou,))
    right, ignored = matches.verdict(0)
    assert (np.diff(matches.scores) <= 0).all()
    return np.where(right, "right", np.where(ignored, "ignored", "wrong")).tolist()


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


def test_classes_and_images_do_not_mix():
    index = make_index([(0, BOX, 0), (1, BOX, 1)], images=2, classes=2)
    matches = match(index, make_table([(0, BOX, 1, 0.9), (1, BOX, 0, 0.9)]))
    assert not matches.right.any()
    assert matches.objects.tolist() == [[1, 1]]


def test_only_the_best_hundred_of_a_class_and_image_count():
    index = make_index([(0, BOX, 0), (0, BOX, 1)], images=1, classes=2)
    rows = [(0, [200, 200, 300, 300], 0, 0.9)] * 100 + [(0, BOX, 0, 0.1), (0, BOX, 1, 0.05)]
    matches = match(index, make_table(rows), ious=(0.5,))
    assert np.bincount(matches.labels).tolist() == [100, 1]
    assert matches.rank.tolist() == [*range(100), 0]
    assert matches.right.tolist() == [0] * 100 + [1]


def test_an_object_of_another_size_is_taken_only_by_who_finds_none_of_this_size():
    """The first detection overlaps the large object better, but counts for the medium one when that is asked for."""
    large, medium = [0, 0, 100, 100], [0, 0, 100, 90]
    rows = [(0, [0, 0, 100, 98], 0, 0.9), (0, large, 0, 0.8), (0, [300, 0, 310, 10], 0, 0.7)]
    index = make_index([(0, large, 0), (0, medium, 0)], images=1, classes=1)
    matches = match(index, make_table(rows), ious=(0.5,), sizes=COCO_SIZES[2:])
    assert matches.objects.tolist() == [[1], [1]]
    assert [v.tolist() for v in matches.verdict(0)] == [[True, False, False], [False, True, True]]
    assert [v.tolist() for v in matches.verdict(1)] == [[True, False, False], [False, True, True]]


SETS = [
    *(random_set(seed, crowded=crowded) for seed, crowded in ((0, False), (1, False), (2, True))),
    *(grid_set(seed, images=20, classes=3) for seed in range(4)),
    grid_set(5, images=3, classes=1, objects=8, detections=300),
    grid_set(6, images=8, classes=2, crowds=1),
    grid_set(7, images=8, classes=2, objects=0),
]


@pytest.mark.parametrize("number", range(len(SETS)))
@pytest.mark.parametrize("chunk", [None, 3])
def test_every_verdict_is_pycocotools(number, chunk, monkeypatch):
    """Of every image and class, at all ten thresholds and four sizes, with ties and crowds; in chunks likewise."""
    if chunk:
        monkeypatch.setattr(matching, "CHUNK", chunk)
    index, table = SETS[number]
    run = coco_eval(index, table)
    with contextlib.redirect_stdout(io.StringIO()):
        run.evaluate()
    matches = match(index, table, sizes=COCO_SIZES)
    entries = iter(run.evalImgs)
    for label in range(len(index.names)):
        rows = matches.labels == label
        for size in range(len(COCO_SIZES)):
            found = [e for e in itertools.islice(entries, len(index)) if e is not None]
            assert matches.objects[size, label] == sum((e["gtIgnore"] == 0).sum() for e in found)
            if not found:
                assert not rows.any()
                continue
            scores = np.concatenate([e["dtScores"] for e in found])
            order = np.argsort(-scores, kind="stable")
            assert matches.scores[rows].tolist() == scores[order].tolist()
            ranks = np.concatenate([np.arange(len(e["dtScores"])) for e in found])
            assert matches.rank[rows].tolist() == ranks[order].tolist()
            ignored = np.concatenate([e["dtIgnore"] for e in found], axis=1)[:, order]
            matched = np.concatenate([e["dtMatches"] for e in found], axis=1)[:, order] > 0
            for t in range(len(COCO_IOUS)):
                ours = matches.verdict(size * len(COCO_IOUS) + t)
                np.testing.assert_array_equal(ours[0][rows], matched[t] & ~ignored[t])
                np.testing.assert_array_equal(ours[1][rows], ignored[t])


@pytest.mark.parametrize("seed", range(3))
def test_every_bit_of_an_iou_is_pycocotools(seed):
    """Boxes of many magnitudes, empty and turned around ones, crowds."""
    from pycocotools.mask import iou

    rng = np.random.default_rng(seed)
    boxes = np.abs(rng.normal(size=(200, 4)) * 10.0 ** rng.integers(-1, 4, (200, 1))).astype(np.float32)
    boxes[20:, 2:] += boxes[20:, :2]
    boxes[:20:2, 2] = boxes[:20:2, 0]
    crowd = rng.random(200) < 0.3
    sides = xywh(boxes)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = iou(sides, sides, crowd.astype(np.uint8).tolist())
    a, b = np.divmod(np.arange(200 * 200), 200)
    assert 0.05 < (expected > 0).mean() < 0.95
    np.testing.assert_array_equal(matching._iou(boxes[a], boxes[b], crowd[b]).reshape(200, 200), expected)


@pytest.mark.parametrize("seed", range(3))
def test_a_stricter_threshold_finds_no_more_and_nothing_is_found_twice(seed):
    index, table = random_set(seed)
    matches = match(index, table)
    found = [matches.verdict(t)[0].sum() for t in range(len(COCO_IOUS))]
    assert (np.diff(found) <= 0).all()
    assert found[0] <= matches.objects.sum()
    assert not (matches.right & matches.ignored).any()


def test_each_verdict_is_the_same_alone_and_among_others():
    index, table = random_set(4)
    together = match(index, table, sizes=COCO_SIZES)
    for bit, (size, iou) in enumerate(itertools.product(COCO_SIZES, COCO_IOUS)):
        alone = match(index, table, ious=(iou,), sizes=(size,))
        for a, b in zip(alone.verdict(0), together.verdict(bit)):
            np.testing.assert_array_equal(a, b)


def test_more_verdicts_than_bits_are_refused():
    index, table = random_set(0)
    match(index, table, ious=tuple(np.linspace(0.2, 0.8, 63)))
    with pytest.raises(ValueError, match="2 size ranges x 32 thresholds"):
        match(index, table, ious=tuple(np.linspace(0.2, 0.8, 32)), sizes=COCO_SIZES[:2])


def test_no_detections_and_no_objects():
    index, table = random_set(0)
    nothing = table.select(np.zeros(len(table), bool))
    assert len(match(index, nothing).right) == 0
    blank = make_index([], images=len(index), classes=4)
    assert match(blank, nothing).objects.tolist() == [[0] * 4]
    assert not match(blank, table).right.any()
    assert len(match(index, table, images=np.zeros(0, np.int64)).right) == 0


def test_only_the_chosen_images_count():
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
