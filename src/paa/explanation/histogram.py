"""The histogram of an object's scores, with the curves of its two Gaussians, for pages and pictures alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from paa.explanation.objects import ObjectAssignment

Floats = npt.NDArray[np.float64]

_BINS = 24
_POINTS = 90
_MARGIN = 0.06  # of the range of the scores, left and right of them
_HIGHEST = 1.6  # of the highest bar, where a narrow Gaussian's curve is cut off


@dataclass(frozen=True)
class Histogram:
    """Bars and curves over scores from `left` to `right`, in candidates from 0 to `top`.

    edges (k + 1,); positives, negatives (k,): candidates of each bin. x, low, high (m,): the curves of the Gaussians,
    scaled to candidates of a bin; none where there is no mixture. cut: the score between positives and negatives.
    """

    left: float
    right: float
    top: float
    edges: Floats
    positives: npt.NDArray[np.int64]
    negatives: npt.NDArray[np.int64]
    x: Floats
    low: Floats
    high: Floats
    cut: float | None

    @property
    def ticks(self) -> list[float]:
        """Five scores to name below the bars, from the lowest to the highest."""
        return np.asarray(np.linspace(float(self.edges[0]), float(self.edges[-1]), 5)).tolist()  # type: ignore[no-any-return]


def histogram(one: ObjectAssignment, span: tuple[float, float] | None = None) -> Histogram | None:
    """Return the histogram of an object's candidates; None without candidates.

    span: the lowest and the highest score to show, by default those of the object; others are put into the last bin.
    """
    scores = one.candidates.scores
    if not len(scores):
        return None
    lowest, highest = (float(scores[0]), float(scores[-1])) if span is None else span
    highest = max(highest, lowest + 1e-3)
    margin = _MARGIN * (highest - lowest)
    left, right = lowest - margin, highest + margin
    edges = np.linspace(lowest, highest, _BINS + 1)
    inside = scores.clip(lowest, highest)
    positives, negatives = (np.histogram(part, edges)[0] for part in np.split(inside, [one.positives]))
    bars = float((positives + negatives).max())
    x = low = high = np.zeros(0)
    curves = 0.0
    if one.mixture is not None:
        x = _places(one.mixture.means, one.mixture.variances, left, right)
        low, high = len(scores) * (edges[1] - edges[0]) * one.mixture.densities(x)
        curves = float(max(low.max(), high.max()))
    top = max(1.1 * bars, min(1.05 * curves, _HIGHEST * bars))
    return Histogram(left, right, top, edges, positives, negatives, x, low, high, one.cut)


def _places(means: tuple[float, ...], variances: tuple[float, ...], left: float, right: float) -> Floats:
    """Return where to compute the curves: evenly, and closer to each other where a narrow Gaussian has its peak."""
    near = [mean + np.sqrt(variance) * np.linspace(-4, 4, 33) for mean, variance in zip(means, variances)]
    x = np.unique(np.concatenate([np.linspace(left, right, _POINTS), *near]))
    return np.asarray(x[(x >= left) & (x <= right)])
