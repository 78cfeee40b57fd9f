"""The geometry of charts: what lies where."""

from __future__ import annotations

import re

import numpy as np
import pytest

from paa.evaluation.calibration import Calibration, CalibrationBin
from paa.evaluation.comparison import Difference
from paa.evaluation.confusion import Confusion
from paa.evaluation.metrics import evaluate
from paa.evaluation.operating_point import ClassCurve, average_precision, precision_recall
from paa.report.html import charts
from tests.evaluation.coco_sets import random_set

PLOT = charts.Plot(width=100, height=100, left=0, right=100, top=0, bottom=100)


def area_under(path: str) -> float:
    """Return the area under a path of steps in PLOT, 0..1."""
    x, y, total = 0.0, 0.0, 0.0
    for command, numbers in re.findall(r"([MVH])([\d. ]+)", path):
        if command == "M":
            x, y = map(float, numbers.split())
        elif command == "V":
            y = float(numbers)
        else:
            total += (float(numbers) - x) * (100 - y)
            x = float(numbers)
    return total / 10_000


def test_a_value_lies_between_the_edges() -> None:
    assert (PLOT.x(0), PLOT.x(0.25), PLOT.x(1)) == (0, 25, 100)
    assert (PLOT.y(0), PLOT.y(0.25), PLOT.y(1)) == (100, 75, 0)


def test_the_area_under_a_curve_is_the_ap() -> None:
    curves = [curve for curve in precision_recall(evaluate(*random_set(0, images=80))) if curve.objects]
    assert len(curves) == 3
    for curve in curves:
        path = charts.curve_path(curve, PLOT)
        assert area_under(path) == pytest.approx(average_precision(curve.precision, curve.recall), abs=0.005)
        assert path.endswith("V100")
        assert path.count("H") <= 201


def test_a_curve_of_nothing_has_no_path() -> None:
    none = np.zeros(0)
    assert charts.curve_path(ClassCurve("a", 1, none, none, none, 0.0, 0.0, None), PLOT) == ""


def test_columns_reach_to_the_largest_value() -> None:
    low, high = charts.columns([("a", 1, "1", ""), ("b", 4, "4", "")], PLOT)
    assert (low.y, low.height, high.y, high.height) == (75, 25, 0, 100)
    assert low.x + low.width < 50 < high.x
    assert charts.columns([("a", 0, "0", "")], PLOT)[0].height == 0
    assert charts.columns([], PLOT) == []


def test_calibration_dots() -> None:
    bins = (
        CalibrationBin(0.0, 0.5, 100, 0.4, 0.1),
        CalibrationBin(0.5, 0.6, 0, 0, 0),
        CalibrationBin(0.6, 1, 1, 0.9, 1),
    )
    many, few = charts.calibration_dots(Calibration(0.1, 0.3, bins, {}), PLOT)
    assert (many.x, many.y) == (40, 90)
    assert (few.x, few.y) == (90, 0)
    assert many.radius > few.radius
    assert "100 detections" in many.title


def test_the_matrix_shows_the_classes_with_most_mistakes() -> None:
    counts = np.diag([5] * 40 + [0])
    counts[7, 9], counts[40, 8], counts[30, 40], counts[3] = 4, 3, 2, 0
    found = charts.matrix(Confusion(tuple(f"class {i}" for i in range(40)), counts))
    assert len(found.names) == 25
    assert {"class 7", "class 8", "class 9", "class 30"} < set(found.names)
    assert "class 3" not in found.names
    assert found.names[-1] == "nothing"
    assert found.left_out == 39 - 24
    by_place = {(found.names[cell.row], found.names[cell.column]): cell for cell in found.cells}
    assert by_place["class 7", "class 9"].count == 4
    assert by_place["class 7", "class 9"].share == pytest.approx(4 / 9)
    assert by_place["nothing", "class 8"].title == "3 of 3 detections without an object: found as class 8"
    assert ("class 7", "class 8") not in by_place


def test_whiskers_are_around_zero() -> None:
    found = charts.whiskers(
        [
            Difference("AP", 0.5, 0.4, (0.05, 0.2)),
            Difference("APs", None, 0.4, None),
            Difference("AR100", 0.4, 0.4, (-0.01, 0.01)),
        ],
        left=0,
        right=100,
    )
    assert found is not None
    assert found.zero == 50
    first, second = found.rows
    assert (first.low, first.x, first.high, first.verdict) == (62.5, 75, 100, "better")
    assert (second.x, second.verdict) == (50, "not clear")
    assert [text for _, text in found.ticks] == ["-20.0", "-10.0", "0", "+10.0", "+20.0"]
    assert charts.whiskers([Difference("APs", None, 0.4, None)]) is None
