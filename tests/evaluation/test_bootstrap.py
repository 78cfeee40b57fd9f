"""Bootstrap over images: every draw against an evaluation of a data set with the images repeated, and known cases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from paa.data.index import DatasetIndex
from paa.errors import ConfigError
from paa.evaluation.bootstrap import draw, interval, resample
from paa.evaluation.comparison import compare
from paa.evaluation.intervals import intervals
from paa.evaluation.metrics import CocoMetrics, evaluate
from paa.inference.table import DetectionTable
from tests.evaluation.coco_sets import grid_set, make_index, make_table, random_set

BOX = [0, 0, 50, 50]
NOTHING = DetectionTable.concatenate([])


def half_found(images: int) -> tuple[DatasetIndex, DetectionTable]:
    """Return images of one object each, every second of which is found."""
    index = make_index([(i, BOX, 0) for i in range(images)], images=images, classes=1)
    return index, make_table([(i, BOX, 0, 0.9) for i in range(0, images, 2)])


def repeated(index: DatasetIndex, table: DetectionTable, times: npt.NDArray[np.int64]) -> CocoMetrics:
    """Return the numbers of a data set that has each image as often as `times` says."""
    chosen = np.repeat(np.arange(len(index)), times)
    rows = [np.flatnonzero(table.image == image) for image in chosen]
    image = np.repeat(np.arange(len(chosen)), [len(own) for own in rows])
    copies = replace(table.select(np.concatenate(rows)), image=image)
    return evaluate(replace(index.select(chosen), image_ids=np.arange(len(chosen))), copies).metrics


def without_ties(index: DatasetIndex, table: DetectionTable) -> tuple[DatasetIndex, DetectionTable]:
    """Return the set with distinct scores: copies of an image may stand in any order."""
    scores = np.random.default_rng(0).permutation(len(table)) / len(table)
    return index, replace(table, scores=scores.astype(np.float32))


@pytest.mark.parametrize(
    "made", [without_ties(*random_set(0)), without_ties(*random_set(1)), grid_set(0, images=30, classes=3)]
)
def test_a_draw_is_a_data_set_with_repeated_images(made: tuple[DatasetIndex, DetectionTable]) -> None:
    evaluation = evaluate(*made)
    draws = draw(len(evaluation.index), 12)
    found = resample(evaluation, draws)
    assert list(found.measures) == list(evaluation.metrics.summary)
    for i, times in enumerate(draws):
        expected = repeated(evaluation.index, evaluation.table, times)
        for name, values in found.measures.items():
            value = expected[name]
            assert values[i] == pytest.approx(np.nan if value is None else value, abs=1e-9, nan_ok=True), name
        for label, of_class in enumerate(expected.classes):
            for values, value in ((found.class_ap, of_class.ap), (found.class_ap50, of_class.ap50)):
                assert values[i, label] == pytest.approx(np.nan if value is None else value, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("made", [random_set(2), grid_set(1, images=30, classes=1), half_found(5)])
def test_every_image_once_gives_cocos_numbers(made: tuple[DatasetIndex, DetectionTable]) -> None:
    evaluation = evaluate(*made)
    found = resample(evaluation, np.ones((1, len(evaluation.index)), np.int64))
    for name, (value,) in found.measures.items():
        expected = evaluation.metrics[name]
        assert value == pytest.approx(np.nan if expected is None else expected, abs=1e-12, nan_ok=True), name


def test_draws_have_as_many_images_and_repeat_them() -> None:
    draws = draw(50, 200)
    assert draws.shape == (200, 50)
    assert (draws.sum(1) == 50).all()
    assert draws.max() > 2
    assert (draws == 0).mean() == pytest.approx(np.exp(-1), abs=0.02)
    np.testing.assert_array_equal(draws, draw(50, 200))


def test_the_interval_of_a_share_is_binomial() -> None:
    """hotcoco's own draws would give a standard deviation of 0.019."""
    recall = resample(evaluate(*half_found(400)), draw(400, 2000)).measures["AR100"]
    assert recall.mean() == pytest.approx(0.5, abs=0.003)
    assert recall.std() == pytest.approx(0.025, abs=0.0015)
    assert interval(recall) == pytest.approx((0.451, 0.549), abs=0.005)


def test_without_chance_the_interval_is_a_point() -> None:
    index = make_index([(i, BOX, 0) for i in range(10)], images=10, classes=1)
    found = resample(evaluate(index, make_table([(i, BOX, 0, 0.9) for i in range(10)])), draw(10, 50))
    assert interval(found.measures["AP"]) == pytest.approx((1, 1))
    found = resample(evaluate(index, NOTHING), draw(10, 50))
    assert interval(found.measures["AP"]) == (0, 0)


def test_no_interval_where_most_draws_define_nothing() -> None:
    index = make_index([(0, [0, 0, 200, 200], 0), *((i, BOX, 0) for i in range(1, 4))], images=4, classes=2)
    found = intervals(resample(evaluate(index, make_table([(0, [0, 0, 200, 200], 0, 0.9)])), draw(4, 1000)))
    assert found.measures["APl"] == pytest.approx((1, 1))  # in 68 % of the draws the object is found, else it is absent
    assert found.measures["APs"] is None
    assert found.classes[1] is None
    assert interval(np.array([np.nan, 1.0])) is None


def test_draws_are_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation, draws = evaluate(*random_set(3)), draw(25, 40)
    whole = resample(evaluation, draws)
    monkeypatch.setattr("paa.evaluation.bootstrap._AT_ONCE", 200)
    parts = resample(evaluation, draws)
    for name, values in whole.measures.items():
        np.testing.assert_array_equal(parts.measures[name], values)


def test_equal_evaluations_do_not_differ() -> None:
    evaluation = evaluate(*random_set(0))
    for difference in compare(evaluation, evaluation, 50).measures:
        assert difference.difference == 0
        assert difference.interval == (0, 0)
        assert difference.verdict == "not clear"


def test_what_is_better_and_what_is_chance() -> None:
    index, table = random_set(4, images=60)
    noisy = replace(table, boxes=table.boxes + np.random.default_rng(0).normal(0, 1, table.boxes.shape).astype("f4"))
    worse = table.select(np.random.default_rng(0).random(len(table)) < 0.3)
    this, other = evaluate(index, table), evaluate(index, worse)
    by_name = {difference.name: difference for difference in compare(this, other, 300).measures}
    assert by_name["AP"].verdict == "better"
    assert by_name["AP"].this == this.metrics["AP"]
    assert by_name["AP"].other == other.metrics["AP"]
    low, high = by_name["AP"].interval or (0, 0)
    assert low < (by_name["AP"].difference or 0) < high
    assert {difference.name: difference for difference in compare(other, this, 300).measures}["AP"].verdict == "worse"
    classes = compare(this, other, 300).classes
    assert [one.verdict for one in classes] == ["better", "better", "better", "undefined"]
    little = {difference.name: difference for difference in compare(this, evaluate(index, noisy), 300).measures}
    assert little["AP50"].verdict == "not clear"


def test_pairing_makes_small_differences_visible() -> None:
    """The second finds the same objects and one in twenty more: clear, though the intervals of both overlap."""
    index, table = half_found(400)
    more = DetectionTable.concatenate([table, make_table([(i, BOX, 0, 0.9) for i in range(1, 400, 20)])])
    this, other = evaluate(index, more), evaluate(index, table)
    single = [intervals(resample(e, draw(400, 300))).measures["AR100"] for e in (this, other)]
    assert single[0] is not None
    assert single[1] is not None
    assert single[0][0] < single[1][1]
    found = {difference.name: difference for difference in compare(this, other, 300).measures}
    assert found["AR100"].verdict == "better"


def test_other_images_cannot_be_compared() -> None:
    index, table = half_found(6)
    other = evaluate(index.select(np.arange(4)), table.select(table.image < 4))
    with pytest.raises(ConfigError, match="only on the same images"):
        compare(evaluate(index, table), other, 10)
    with pytest.raises(ConfigError, match="numbers of detections"):
        compare(evaluate(index, table), evaluate(index, table, max_detections=200), 10)
