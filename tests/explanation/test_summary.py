"""The numbers over all objects, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from paa.explanation.summary import Gatherer, summarise
from tests.explanation.objects import alternative, make_object

OBJECTS = [
    make_object(3, 8, 0, what_if={"atss": alternative(4, 2)}),
    make_object(1, 5, 1, area=20.0**2, best_overlap=0.12, what_if={"atss": alternative(0, 0)}),
    make_object(0, 0, 2, area=200.0**2, best_overlap=0.0, mixture=None, what_if={"atss": alternative(1, 0)}),
    make_object(6, 9, 3, what_if={"atss": alternative(6, 5)}),
]


def test_groups() -> None:
    summary = summarise(OBJECTS)
    whole = summary.whole
    assert (whole.objects, whole.none, whole.one, whole.no_candidates) == (4, 1, 1, 1)
    assert (whole.positives, whole.candidates) == (2.5, 5.5)
    assert whole.per_level == pytest.approx(np.mean([one.per_level()[0] for one in OBJECTS], 0).tolist())
    assert sum(whole.per_level or ()) == pytest.approx(2.5)
    separations = [one.mixture.separation for one in OBJECTS if one.mixture]
    assert whole.separation == pytest.approx(np.median(separations))
    assert summary.separations == pytest.approx(separations)
    errors = [
        abs(one.candidates.predicted_ious[i] - one.candidates.true_ious[i])
        for one in OBJECTS
        for i in range(one.positives)
    ]
    assert whole.iou_error == pytest.approx(np.mean(errors))
    assert [(size.name, size.objects) for size in summary.sizes] == [("small", 1), ("medium", 2), ("large", 1)]
    assert summary.sizes[1].positives == 4.5
    assert [(bin.name, bin.objects, bin.no_candidates) for bin in summary.overlaps] == [
        ("0.0 to 0.1", 1, 1), ("0.1 to 0.2", 1, 0), ("0.5 to 0.6", 2, 0)
    ]  # fmt: skip
    assert summary.counts == (1, 1, 0, 1, 0, 0, 1)


def test_an_anchor_that_is_the_box_of_an_object() -> None:
    (last,) = summarise([make_object(best_overlap=1.0)]).overlaps
    assert (last.name, last.objects) == ("0.8 to 1.0", 1)


def test_comparison_with_another_rule() -> None:
    (atss,) = summarise(OBJECTS).what_if
    assert (atss.name, atss.positives, atss.none) == ("atss", 11 / 4, 1)
    assert atss.agreement == pytest.approx(7 / (10 + 11 - 7))
    cuts = summarise(OBJECTS).cuts
    counted = [one.mixture.cuts(one.candidates.scores) for one in OBJECTS if one.mixture]
    undivided = [one.positives for one in OBJECTS if not one.mixture]  # all means are over the same objects
    assert undivided
    assert cuts == {
        name: np.mean([of_one[name] for of_one in counted] + undivided) for name in ("foreground", "low-mean", "middle")
    }


def test_of_nothing() -> None:
    summary = Gatherer().summary()
    assert summary.whole.objects == 0
    assert summary.whole.positives is None
    assert summary.overlaps == summary.counts == summary.what_if == ()
