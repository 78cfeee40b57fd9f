"""Many small mixtures of two one-dimensional Gaussians, fitted at once (paper, §3.2).

The rules are those of scikit-learn's `GaussianMixture(2, weights_init, means_init, precisions_init)`, which all three
reference implementations call once per object: everything in float64, `tol` 1e-3 on the mean log-likelihood, at most 100
rounds, 1e-6 added to each variance, and the parameters *after* the last round count.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

TOLERANCE = 1e-3
MAX_ROUNDS = 100
VARIANCE_FLOOR = 1e-6
_LOG_2PI = math.log(2 * math.pi)
_TINY = 10 * torch.finfo(torch.float64).eps


class Mixture(NamedTuple):
    """Two Gaussians for each of G sets: weights, means and variances (G, 2), float64; column 0 is the low-score one."""

    weights: Tensor
    means: Tensor
    variances: Tensor

    def log_densities(self, scores: Tensor) -> Tensor:
        """Return the weighted log-density of each component at scores (G, K) -> (G, 2, K)."""
        deviation = scores[:, None] - self.means[..., None]
        constant = self.weights.log() - 0.5 * (self.variances.log() + _LOG_2PI)
        return constant[..., None] - 0.5 * deviation.square() / self.variances[..., None]


def fit(scores: Tensor, count: Tensor) -> Mixture:
    """Fit one mixture to the first `count` scores of each row by expectation maximisation.

    scores (G, K): ascending, any float type; what lies behind `count` is not read. count (G,): int64, at least 1.
    Starts from weights 1/2, means at the lowest and the highest score, precisions 1.
    """
    x = scores.double()
    inside = (torch.arange(x.shape[1], device=x.device) < count[:, None])
    x = torch.where(inside, x, 0.0)
    highest = x.gather(1, (count - 1).clamp(min=0)[:, None])
    start = Mixture(
        weights=x.new_full((len(x), 2), 0.5),
        means=torch.cat([x[:, :1], highest], dim=1),
        variances=x.new_ones((len(x), 2)),
    )
    return _iterate(start, x, inside.double())


def _iterate(mixture: Mixture, x: Tensor, inside: Tensor) -> Mixture:
    """Run the rounds; a set that has converged keeps its parameters while the others go on."""
    result = Mixture(*(t.clone() for t in mixture))
    rows = torch.arange(len(x), device=x.device)
    number = inside.sum(1)
    previous = x.new_full((len(x),), -torch.inf)
    for _ in range(MAX_ROUNDS):
        mixture, likelihood = _round(mixture, x, inside, number)
        moving = (likelihood - previous).abs() >= TOLERANCE
        previous = likelihood
        if x.is_cuda:  # no look at the device's numbers: finished sets are frozen instead of removed
            for kept, new in zip(result, mixture):
                kept[rows] = new
            raise NotImplementedError
        if not moving.all():
            for kept, new in zip(result, mixture):
                kept[rows[~moving]] = new[~moving]
            mixture = Mixture(*(t[moving] for t in mixture))
            x, inside, number, previous, rows = x[moving], inside[moving], number[moving], previous[moving], rows[moving]
            if len(rows) == 0:
                return result
    for kept, new in zip(result, mixture):
        kept[rows] = new
    return result


def _round(mixture: Mixture, x: Tensor, inside: Tensor, number: Tensor) -> tuple[Mixture, Tensor]:
    """One expectation and one maximisation: the new parameters, and the mean log-likelihood (G,) of the old ones."""
    log_densities = mixture.log_densities(x)
    log_density = torch.logaddexp(log_densities[:, 0], log_densities[:, 1])
    likelihood = (log_density * inside).sum(1) / number
    responsibility = (log_densities - log_density[:, None]).exp_().mul_(inside[:, None])
    mass = responsibility.sum(2) + _TINY
    means = (responsibility * x[:, None]).sum(2) / mass
    deviation = x[:, None] - means[..., None]
    variances = responsibility.mul_(deviation.square_()).sum(2) / mass + VARIANCE_FLOOR
    return Mixture(mass / mass.sum(1, keepdim=True), means, variances), likelihood


def cut(scores: Tensor, count: Tensor) -> Tensor:
    """Return how many of each row's lowest scores are positive (paper, §3.2, rule (c) of its figure 3).

    scores (G, K): ascending; count (G,): int64, how many of them are candidates. Returns (G,) int64: 0 where there is no
    candidate, all where none is more probable under the low-score component, else up to and with the foreground
    candidate of highest density (the first, if tied).
    """
    k = scores.shape[1]
    place = torch.arange(k, device=scores.device)
    inside = place < count[:, None]
    x = torch.where(inside, scores.double(), 0.0)
    low, high = fit(scores, count.clamp(min=1)).log_densities(x).unbind(1)
    density = torch.where(inside & (low >= high), torch.logaddexp(low, high), -torch.inf)
    best = density.amax(1, keepdim=True)
    densest = torch.where((density == best) & (best > -torch.inf), place, k).amin(1)
    return torch.where(densest < k, densest + 1, count)
