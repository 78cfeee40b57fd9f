"""Means and their intervals, against scipy's distribution."""

from __future__ import annotations

import pytest

from paa.study.estimates import estimate, t_quantile

stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize("freedom", [*range(1, 12), 29, 30, 101])
def test_the_quantile_is_scipys(freedom: int) -> None:
    assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-9)


def test_the_interval_is_that_of_the_t_test() -> None:
    values = [0.41, 0.47, 0.44, 0.39]
    found = estimate(values)
    assert found is not None
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert (found.mean, found.count) == (pytest.approx(0.4275), 4)


def test_one_seed_has_no_interval() -> None:
    found = estimate([0.5])
    assert found is not None
    assert (found.mean, found.low, found.high) == (0.5, None, None)
    assert estimate([]) is None
