"""Means over seeds, and the interval in which the mean of many seeds would lie, 95 times in 100: Student's t."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A mean over `count` seeds with its 95 % interval, which one seed does not have."""

    mean: float
    low: float | None
    high: float | None
    count: int


def estimate(values: Sequence[float]) -> Estimate | None:
    """Return the mean of values of independent seeds, and mean -+ t x deviation / sqrt(n); None for no values.

    t: the 97.5 % quantile of Student's distribution with n - 1 degrees of freedom, which supposes that seeds scatter
    normally. Of paired differences, the interval is that of the paired t-test.
    """
    if not values:
        return None
    mean, n = statistics.fmean(values), len(values)
    if n == 1:
        return Estimate(mean, None, None, 1)
    half = t_quantile(n - 1) * statistics.stdev(values) / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, n)


def t_quantile(freedom: int) -> float:
    """Return the t that Student's distribution exceeds, in absolute value, with a probability of 5 %."""
    low, high = 0.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < 0.95 else (low, middle)
    return (low + high) / 2


def _within(t: float, freedom: int) -> float:
    """Return P(|T| <= t), by the finite sums of Abramowitz & Stegun, 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(odd, freedom - 1, 2):
        total += term
        term *= (k + 1) / (k + 2) * cosine**2
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
