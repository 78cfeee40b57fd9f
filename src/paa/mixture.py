"""Many small mixtures of two one-dimensional Gaussians, fitted at once (paper, §3.2).

The rules are those of scikit-learn's `GaussianMixture(2, weights_init, means_init, precisions_init)`, which all three
reference implementations call once per object: everything in float64, `tol` 1e-3 on the mean log-likelihood, at most
100 rounds, 1e-6 added to each variance, and the parameters *after* the last round count.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

TOLERANCE = 1e-3
MAX_ROUNDS = 100
VARIANCE_FLOOR = 1e-6
_LOG_2PI = math.log(2 * math.pi)
_TINY = 10 * torch.finfo(torch.float64).eps


class Mixture(NamedTuple):
    """Two Gaussians for each of G sets: weights, means and variances (G, 2, 1), float64; row 0 is the low-score one."""

    weights: Any
    means: Any
    variances: Any

    def log_densities(self, x: Any, xp: Any) -> Any:
        """Return the weighted log-density of each component at x (G, 1, K) -> (G, 2, K)."""
        q = x - self.means
        q *= q
        q *= -0.5 / self.variances
        q += xp.log(self.weights / xp.sqrt(self.variances)) - 0.5 * _LOG_2PI
        return q


def fit(scores: Tensor, count: Tensor) -> Mixture:
    """Fit one mixture to the first `count` scores of each row by expectation maximisation.

    scores (G, K): ascending, any float type; what lies behind `count` is not read. count (G,): int64, at least 1.
    Starts from weights 1/2, means at the lowest and the highest score, precisions 1. Returns tensors where scores are.
    """
    place = torch.arange(scores.shape[1], device=scores.device)
    inside = (place < count[:, None])[:, None].double()
    x = torch.where(inside > 0, scores.double()[:, None], 0.0)
    highest = x.gather(2, (count - 1)[:, None, None])
    ones = x.new_ones(len(x), 2, 1)
    start = Mixture(ones / 2, torch.cat([x[:, :, :1], highest], dim=1), ones)
    return _fit_device(start, x, inside) if scores.is_cuda else _fit_host(start, x, inside)


def _round(mixture: Mixture, x: Any, inside: Any, share: Any, xp: Any) -> tuple[Mixture, Any]:
    """One expectation and one maximisation: the new parameters, and the mean log-likelihood (G,) of the old ones.

    x, inside (0 or 1), share (inside / number of scores): (G, 1, K). xp: numpy or torch, as the arrays are.
    """
    q = mixture.log_densities(x, xp)
    log_density = xp.logaddexp(q[:, :1], q[:, 1:])
    q -= log_density
    responsibility = xp.exp(q)
    responsibility *= inside
    log_density *= share
    mass = responsibility.sum(2, keepdims=True) + _TINY
    means = (responsibility * x).sum(2, keepdims=True) / mass
    deviation = x - means
    deviation *= deviation
    deviation *= responsibility
    variances = deviation.sum(2, keepdims=True) / mass + VARIANCE_FLOOR
    return Mixture(mass / mass.sum(1, keepdims=True), means, variances), log_density.sum(2)[:, 0]


@np.errstate(invalid="ignore")  # scores that are NaN are the caller's to report
def _fit_host(start: Mixture, x: Tensor, inside: Tensor) -> Mixture:
    """On a CPU: in numpy, whose calls cost a third of torch's at this size; sets that have converged drop out."""
    result = [t.numpy().copy() for t in start]
    mixture, xs, ins = Mixture(*(t.numpy() for t in start)), x.numpy(), inside.numpy()
    share = ins / ins.sum(2, keepdims=True)
    rows, previous = np.arange(len(xs)), np.full(len(xs), -np.inf)
    for _ in range(MAX_ROUNDS):
        mixture, likelihood = _round(mixture, xs, ins, share, np)
        moving = np.abs(likelihood - previous) >= TOLERANCE
        previous = likelihood
        if moving.all():
            continue
        for whole, part in zip(result, mixture):
            whole[rows[~moving]] = part[~moving]
        mixture = Mixture(*(t[moving] for t in mixture))
        xs, ins, share, previous, rows = (a[moving] for a in (xs, ins, share, previous, rows))
        if len(rows) == 0:
            break
    for whole, part in zip(result, mixture):
        whole[rows] = part
    return Mixture(*(torch.from_numpy(t) for t in result))


def _fit_device(mixture: Mixture, x: Tensor, inside: Tensor) -> Mixture:
    """On an accelerator: all rounds, without a look at the numbers; sets that have converged are frozen."""
    share = inside / inside.sum(2, keepdim=True)
    moving = torch.ones(len(x), 1, 1, dtype=torch.bool, device=x.device)
    previous = torch.full_like(moving, -torch.inf, dtype=x.dtype)
    for _ in range(MAX_ROUNDS):
        new, likelihood = _round(mixture, x, inside, share, torch)
        mixture = Mixture(*(torch.where(moving, b, a) for a, b in zip(mixture, new)))
        moving = moving & ((likelihood[:, None, None] - previous).abs() >= TOLERANCE)
        previous = likelihood[:, None, None]
    return mixture


def cut(scores: Tensor, count: Tensor) -> Tensor:
    """Return how many of each row's lowest scores are positive (paper, §3.2).

    scores (G, K): ascending; count (G,): int64, how many of them are candidates. Returns (G,) int64: 0 where there is
    no candidate, all where none is more probable under the low-score component, else up to and with the foreground
    candidate of highest density (the first, if tied).
    """
    k = scores.shape[1]
    place = torch.arange(k, device=scores.device)
    inside = place < count[:, None]
    x = torch.where(inside, scores.double(), 0.0)
    low, high = fit(x, count.clamp(min=1)).log_densities(x[:, None], torch).unbind(1)
    density = torch.where(inside & (low >= high), torch.logaddexp(low, high), -torch.inf)
    best, at = density.max(1, keepdim=True)
    # equal scores are equally dense, whatever the last bit of their densities says
    densest = torch.where(inside & (x == x.gather(1, at)) & (best > -torch.inf), place, k).amin(1)
    return torch.where(densest < k, densest + 1, count)
