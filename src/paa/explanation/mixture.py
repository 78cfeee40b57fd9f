"""The two Gaussians of one object's scores, and where other cuts through them would be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paa.core.mixture import Mixture, fit_mixtures

Floats = npt.NDArray[np.float64]


class ObjectMixture(NamedTuple):
    """The mixture of one object's scores: of each Gaussian, that of low scores first, weight, mean and variance."""

    weights: tuple[float, float]
    means: tuple[float, float]
    variances: tuple[float, float]

    @property
    def separation(self) -> float:
        """The distance of the means in standard deviations (Ashman et al. 1994); above 2 the Gaussians are two peaks.

        The variance of both Gaussians is the mean of theirs.
        """
        return abs(self.means[1] - self.means[0]) / math.sqrt(sum(self.variances) / 2)

    def densities(self, scores: Floats) -> Floats:
        """Return the weighted density of each Gaussian at scores (k,): (2, k)."""
        parts = (np.array(values)[None, :, None] for values in self)
        return np.asarray(np.exp(Mixture(*parts).log_densities(scores[None, None], np)[0]))

    def cuts(self, scores: Sequence[float] | Floats) -> dict[str, int]:
        """Return how many of the object's scores, ascending, each other cut would make positive, by its name.

        foreground: all that are more probable under the Gaussian of low scores. low-mean: those up to its mean.
        middle: those up to the middle between the two means.
        """
        values = np.asarray(scores, np.float64)
        low, high = self.densities(values)
        return {
            "foreground": int((low >= high).sum()),
            "low-mean": int((values <= self.means[0]).sum()),
            "middle": int((values <= sum(self.means) / 2).sum()),
        }


def fit_objects(scores: Tensor, count: Tensor) -> list[ObjectMixture | None]:
    """Return the mixture of each row of scores (G, K), ascending; None where there are fewer than two scores.

    count (G,): how many of a row's scores are candidates. The fit is the one that decides the positives.
    """
    fitted = fit_mixtures(scores, count.clamp(min=1))
    parts = (part.squeeze(2).tolist() for part in (fitted.weights, fitted.means, fitted.variances))
    return [
        ObjectMixture(*(tuple(values) for values in of_object)) if several else None
        for *of_object, several in zip(*parts, torch.ge(count, 2).tolist())
    ]
