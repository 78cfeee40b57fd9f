import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paa.errors import ConfigError, RunError
from paa.evaluation.coco_results import coco_results, write_results
from paa.evaluation.metrics import SUMMARY_NAMES, evaluate
from paa.evaluation.operating_point import envelope, precision_recall
from paa.inference.table import DetectionTable
from tests.evaluation.coco_sets import grid_set, make_index, make_table, pycocotools_run, random_set

A, B, C = [0, 0, 50, 50], [100, 100, 160, 170], [200, 0, 230, 90]
SETS = [(0, False), (1, False), (2, True)]


def perfect(index):
    image = np.repeat(np.arange(len(index)), np.diff(index.offsets))
    table = DetectionTable(image, index.boxes, np.linspace(1, 0.1, len(image), dtype=np.float32), index.labels)
    return table.select(~index.crowd)


def equal_metrics(index, table):
    """Check every digit of every number and curve, of all sizes and limits, against pycocotools; return the numbers."""
    ours, reference = evaluate(index, table), pycocotools_run(index, table)
    for name in ("precision", "recall", "scores"):
        np.testing.assert_array_equal(ours.run.eval[name], reference.eval[name])
    assert list(ours.metrics.summary) == list(SUMMARY_NAMES)
    assert minus_one(ours.metrics.summary.values()) == reference.stats.tolist()
    precision = np.ascontiguousarray(reference.eval["precision"][:, :, :, 0, -1])
    assert minus_one(c.ap for c in ours.metrics.classes) == precision.mean(axis=(0, 1)).tolist()
    assert minus_one(c.ap50 for c in ours.metrics.classes) == precision[:1].mean(axis=(0, 1)).tolist()
    return ours.metrics


def minus_one(values):
    """pycocotools' -1 for what is not defined."""
    return [-1 if value is None else value for value in values]


@pytest.mark.parametrize(("seed", "crowded"), SETS)
def test_the_same_numbers_as_pycocotools(seed, crowded):
    index, table = random_set(seed, crowded=crowded)
    assert 0.1 < equal_metrics(index, table)["AP"] < 0.9


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize(
    "shape",
    [
        {"images": 12, "classes": 3},
        {"images": 6, "classes": 1, "crowds": 0},
        {"images": 2, "classes": 1, "objects": 40, "detections": 25},
    ],
)
def test_ties_crowds_and_bounds_give_the_same_numbers(seed, shape):
    equal_metrics(*grid_set(seed, **shape))


@pytest.mark.parametrize("seed", range(3))
def test_more_than_a_hundred_detections_of_a_class_in_an_image(seed):
    index, table = grid_set(seed, images=8, classes=1, objects=10, detections=300)
    assert np.bincount(table.image).max() > 100
    equal_metrics(index, table)


@pytest.mark.parametrize("seed", range(3))
def test_odd_boxes_give_the_same_numbers(seed):
    """Boxes of many magnitudes, empty and turned around ones, crowds, tied scores."""
    rng = np.random.default_rng(seed)
    boxes = np.abs(rng.normal(size=(200, 4)) * 10.0 ** rng.integers(-1, 4, (200, 1))).astype(np.float32)
    boxes[100:, 2:] += boxes[100:, :2]
    boxes[:20:2, 2] = boxes[:20:2, 0]
    image = np.sort(rng.integers(0, 3, 200))
    index = make_index(list(zip(image, boxes, np.zeros(200, int), rng.random(200) < 0.3)), images=3, classes=1)
    rows = rng.integers(0, 200, 300)
    near = boxes[rows] * rng.choice(np.array([0.9, 1, 1.01], np.float32), (300, 1))
    scores = rng.choice(np.array([0.1, 0.2, 0.3], np.float32), 300)
    assert 0.05 < equal_metrics(index, DetectionTable(image[rows], near, scores, np.zeros(300, int)))["AP"] < 0.95


@pytest.mark.parametrize("first", [-(1 << 63), -5, (1 << 53) - 5, (1 << 63) - 25])
def test_any_int64_as_image_id(first):
    """Neighbouring ids that float64 cannot tell apart, and negative ones; their order decides between equal scores."""
    index, table = random_set(2)
    ids = np.array([first + int(i) for i in np.random.default_rng(0).permutation(len(index))])
    equal_metrics(replace(index, image_ids=ids), table)


@pytest.mark.parametrize("seed", range(3))
def test_each_of_the_101_precisions_of_any_number_of_objects(seed):
    """COCO's definition in a loop over 300 classes: found / objects reaches a recall or misses it by the last bit.

    Class c has c objects, in images 0 to c - 1, and a crowd in image 0; a detection lies on an object, on the crowd or
    on neither.
    """
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(300), rng.integers(1, 4) * np.arange(300))
    first = np.searchsorted(labels, labels)
    right = rng.random(len(labels)) < 0.9
    number = np.cumsum(right) - np.append(0, np.cumsum(right))[first]
    right &= number <= labels
    ignored = ~right & (rng.random(len(labels)) < 0.3)
    objects = [(image, A, label) for label in range(300) for image in range(label)]
    index = make_index([*objects, *((0, B, label, True) for label in range(300))], images=300, classes=300)

    place = np.arange(len(labels)) - first
    image = np.where(right, number - 1, np.where(ignored, 0, place % 300))
    boxes = np.select([right[:, None], ignored[:, None]], [A, B], C).astype(np.float32)
    table = DetectionTable(image, boxes, (1 - place / 1000).astype(np.float32), labels)
    precision = evaluate(index, table).run.eval["precision"][0, :, :, 0, -1]
    assert (precision[:, 0] == -1).all()
    for label in range(1, 300):
        hit = right[(labels == label) & ~ignored]
        recall, curve = np.cumsum(hit) / label, np.cumsum(hit) / (np.arange(len(hit)) + 1 + np.spacing(1))
        best = np.append(envelope(curve), 0)
        np.testing.assert_array_equal(precision[:, label], best[np.searchsorted(recall, np.linspace(0, 1, 101))])


@pytest.mark.parametrize("seed", range(3))
def test_perfect_detections_score_one(seed):
    index, _ = random_set(seed)
    metrics = evaluate(index, perfect(index)).metrics
    for name in ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100", "ARs", "ARm", "ARl"):
        assert metrics[name] == pytest.approx(1)


@pytest.mark.parametrize("seed", range(3))
def test_order_of_rows_and_images_does_not_matter_without_ties(seed):
    index, table = random_set(seed)
    rng = np.random.default_rng(seed)
    table = DetectionTable(table.image, table.boxes, rng.permutation(len(table)).astype(np.float32), table.labels)
    order = rng.permutation(len(index))
    shuffled = table.select(rng.permutation(len(table)))
    moved = DetectionTable(np.argsort(order)[shuffled.image], shuffled.boxes, shuffled.scores, shuffled.labels)
    assert evaluate(index.select(order), moved).metrics == evaluate(index, table).metrics


@pytest.mark.parametrize("seed", range(3))
def test_shards_of_several_processes_in_any_order(seed):
    """Each image's detections come from one process; between images no order is left, even with ties."""
    index, table = random_set(seed)
    shards = [table.select(table.image % 3 == rank) for rank in (2, 0, 1)]
    whole, gathered = evaluate(index, table), evaluate(index, DetectionTable.concatenate(shards))
    assert gathered.metrics == whole.metrics
    for a, b in zip(precision_recall(gathered), precision_recall(whole)):
        assert (a.ap, a.ap_mean, a.point) == (b.ap, b.ap_mean, b.point)
        np.testing.assert_array_equal(a.precision, b.precision)


def test_one_of_two_found_behind_a_mistake_by_hand():
    """Best detection wrong, second right: precision 1/2 up to recall 1/2, so 51 of the 101 points are 1/2."""
    index = make_index([(0, A, 0), (0, B, 0)], images=1, classes=1)
    metrics = evaluate(index, make_table([(0, C, 0, 0.9), (0, A, 0, 0.8)])).metrics
    assert metrics["AP"] == pytest.approx(51 / 101 / 2)
    assert metrics["AR1"] == 0
    assert metrics["AR10"] == pytest.approx(0.5)


def test_overlap_decides_which_thresholds_count():
    """A box of IoU 0.8 is right at 0.50, 0.55, ..., 0.80: seven of ten thresholds."""
    index = make_index([(0, [0, 0, 100, 100], 0)], images=1, classes=1)
    metrics = evaluate(index, make_table([(0, [0, 0, 80.01, 100], 0, 0.9)])).metrics
    assert metrics["AP"] == pytest.approx(0.7)
    assert metrics["AP50"] == metrics["AP75"] == pytest.approx(1)
    assert (metrics["APs"], metrics["APm"], metrics["APl"]) == (None, None, pytest.approx(0.7))


def test_areas_of_the_file_decide_the_size_range():
    index = make_index([(0, [0, 0, 100, 100], 0, False, 500.0)], images=1, classes=1)
    metrics = evaluate(index, make_table([(0, [0, 0, 100, 100], 0, 0.9)])).metrics
    assert (metrics["APs"], metrics["APl"]) == (pytest.approx(1), None)


def test_detections_on_a_crowd_are_neither_right_nor_wrong():
    index = make_index([(0, A, 0), (0, [100, 100, 400, 400], 0, True)], images=1, classes=1)
    on_crowd = [(0, [120, 120, 160, 160], 0, 0.9), (0, [130, 150, 190, 260], 0, 0.95)]
    metrics = evaluate(index, make_table([*on_crowd, (0, A, 0, 0.5)])).metrics
    assert metrics["AP"] == pytest.approx(1)
    assert metrics.classes[0].objects == 1


def test_no_detections_score_zero():
    index, table = random_set(0)
    metrics = evaluate(index, table.select(np.zeros(len(table), bool))).metrics
    assert set(metrics.summary.values()) == {0.0}
    assert [c.ap for c in metrics.classes] == [0.0, 0.0, 0.0, None]


@pytest.mark.parametrize("objects", [[], [(0, A, 0, True)]])
@pytest.mark.parametrize("rows", [[], [(0, A, 0, 0.9)]])
def test_nothing_to_find_is_undefined(objects, rows):
    metrics = equal_metrics(make_index(objects, images=2, classes=2), make_table(rows))
    assert set(metrics.summary.values()) == {None}
    assert [(c.objects, c.ap, c.ap50) for c in metrics.classes] == [(0, None, None)] * 2
    assert json.loads(json.dumps(metrics.to_dict(), allow_nan=False))["AP"] is None


def test_an_object_of_more_than_cocos_largest_area_is_not_to_be_found():
    index = make_index([(0, A, 0), (0, B, 0, False, 2e10), (0, C, 1, False, 2e10)], images=1, classes=2)
    table = make_table([(0, A, 0, 0.9), (0, B, 0, 0.8), (0, C, 1, 0.7)])
    metrics = equal_metrics(index, table)
    assert [(c.objects, c.ap) for c in metrics.classes] == [(1, pytest.approx(1)), (0, None)]
    curves = precision_recall(evaluate(index, table))
    assert [(c.objects, c.ap, c.precision.tolist()) for c in curves] == [(1, 1.0, [1.0]), (0, None, [])]


def test_only_the_chosen_images_count():
    index, table = random_set(3)
    images = np.array([11, 4, 7, 4])
    rows = np.isin(table.image, images)
    chosen = np.array([4, 7, 11])
    smaller = DetectionTable(
        np.searchsorted(chosen, table.image[rows]), table.boxes[rows], table.scores[rows], table.labels[rows]
    )
    assert evaluate(index, table, images=images).metrics == evaluate(index.select(chosen), smaller).metrics


def test_evaluation_prints_nothing(capfd):
    index, table = random_set(0)
    precision_recall(evaluate(index, table, max_detections=300))
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_a_label_outside_the_data_set_is_explained():
    index = make_index([(0, A, 0)], images=1, classes=2)
    with pytest.raises(ConfigError, match="label 5, but the data set has 2 classes"):
        evaluate(index, make_table([(0, A, 5, 0.9)]))
    with pytest.raises(ValueError, match=r"expected positions 0\.\.0, got 3\.\.3"):
        evaluate(index, make_table([(3, A, 0, 0.9)]))


def test_a_score_that_is_nan_is_refused():
    index = make_index([(0, A, 0)], images=1, classes=1)
    with pytest.raises(ValueError, match="NaN score"):
        evaluate(index, make_table([(0, A, 0, float("nan"))]))


def test_written_results_give_pycocotools_the_same_ap(tmp_path):
    """The file, read back as its readers do, with the data set's own ids."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    index, table = random_set(1)
    index = index.select(np.arange(len(index)))
    ids = np.array([90, 3, 17, 44])
    index = make_index(
        [
            (i, index.boxes[r], index.labels[r], index.crowd[r])
            for i in range(len(index))
            for r in range(index.offsets[i], index.offsets[i + 1])
        ],
        images=len(index),
        classes=4,
        image_ids=index.image_ids,
        category_ids=ids,
    )
    path = tmp_path / "new" / "results.json"
    write_results(path, index, table)
    assert [p.name for p in path.parent.iterdir()] == ["results.json"]

    sides = index.boxes[:, 2:] - index.boxes[:, :2]
    images = np.repeat(index.image_ids, np.diff(index.offsets))
    truth = COCO()
    truth.dataset = {
        "images": [{"id": int(i)} for i in index.image_ids],
        "categories": [{"id": int(i), "name": str(i)} for i in ids],
        "annotations": [
            {
                "id": r + 1,
                "image_id": int(images[r]),
                "category_id": int(ids[index.labels[r]]),
                "bbox": [*index.boxes[r, :2].tolist(), *sides[r].tolist()],
                "area": float(index.areas[r]),
                "iscrowd": int(index.crowd[r]),
            }
            for r in range(len(images))
        ],
    }
    truth.createIndex()
    run = COCOeval(truth, truth.loadRes(str(path)), "bbox")
    run.evaluate()
    run.accumulate()
    run.summarize()
    np.testing.assert_allclose(run.stats, list(evaluate(index, table).metrics.summary.values()), atol=1e-12)


def test_results_carry_the_files_own_ids():
    index = make_index([(1, B, 1)], images=2, classes=2, image_ids=[7, 139], category_ids=[1, 90])
    assert coco_results(index, make_table([(1, B, 1, 0.5)])) == [
        {"image_id": 139, "category_id": 90, "bbox": [100.0, 100.0, 60.0, 70.0], "score": 0.5}
    ]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    index = make_index([(0, A, 0)], images=1, classes=1)
    path = tmp_path / "results.json"
    path.write_text("old")

    def fail(self, target):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(RunError, match=r"disk full.* what it held before is unchanged"):
        write_results(path, index, make_table([(0, A, 0, 0.9)]))
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("results.json", "old")]


def test_concatenate_keeps_rows_in_order_and_types():
    parts = [make_table([(0, A, 0, 0.25)]), make_table([]), make_table([(1, B, 1, 0.5), (2, C, 0, 0.75)])]
    table = DetectionTable.concatenate(parts)
    assert table.image.tolist() == [0, 1, 2]
    assert table.boxes.tolist() == [A, B, C]
    for empty in (DetectionTable.concatenate([]), parts[1]):
        assert (len(empty), empty.boxes.shape) == (0, (0, 4))
    dtypes = [column.dtype for column in vars(table).values()]
    assert dtypes == [np.int64, np.float32, np.float32, np.int64]
