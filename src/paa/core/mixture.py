"""How many of an object's candidates are positive: mixtures of two Gaussians, of all objects at once (paper, §3.2).

The rules are those of scikit-learn's `GaussianMixture(2, weights_init, means_init, precisions_init)`, which all three
reference implementations call once per object: everything in float64, `tol` 1e-3 on the mean log-likelihood, at most
100 rounds, 1e-6 added to each variance, and the parameters *after* the last round count.
This module computes in numpy, for CPUs; `_kernels/mixture.py` does the same in one kernel, for GPUs.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

_TOLERANCE = 1e-3
_MAX_ROUNDS = 100
_VARIANCE_FLOOR = 1e-6
_TINY = 10 * torch.finfo(torch.float64).eps
_LOG_2PI = math.log(2 * math.pi)


class Mixture(NamedTuple):
    """Two Gaussians for each of G sets: weights, means, variances (G, 2, 1), float64; component 0: low scores."""

    weights: Any
    means: Any
    variances: Any

    def log_densities(self, x: Any, xp: Any) -> Any:
        """Return the weighted log-density of each component at x (G, 1, K) -> (G, 2, K); xp: numpy or torch."""
        q = x - self.means
        q *= q
        q *= -0.5 / self.variances
        q += xp.log(self.weights / xp.sqrt(self.variances)) - 0.5 * _LOG_2PI
        return q


def count_positives(scores: Tensor, count: Tensor) -> Tensor:
    """Return how many of each row's lowest scores are positive (paper, §3.2).

    scores (G, K): ascending; count (G,): int64, how many of them are candidates. Returns (G,) int64: 0 without
    candidates, all where none is more probable under the low-score component, else those up to and including the
    foreground candidate of highest density (the first, if tied).
    """
    positives: Tensor = _count_positives(scores, count)
    return positives


@torch.library.custom_op("paa::count_positives", mutates_args=())
def _count_positives(scores: Tensor, count: Tensor) -> Tensor:
    """Compute `count_positives` as one operator: torch.compile can trace neither numpy's rounds nor the kernel."""
    if scores.device.type != "cpu":
        if (kernel := _kernel(scores.device)) is not None:
            return kernel(scores, count)[1]
        on_host: Tensor = _count_positives(scores.cpu(), count.cpu())
        return on_host.to(scores.device)
    k = scores.shape[1]
    position = torch.arange(k)
    valid = position < count[:, None]
    x = torch.where(valid, scores.double(), 0.0)
    low, high = fit_mixtures(x, count.clamp(min=1)).log_densities(x[:, None], torch).unbind(1)
    density = torch.where(valid & (low >= high), torch.logaddexp(low, high), -torch.inf)
    best, at = density.max(1, keepdim=True)
    # equal scores count as equally dense, even if their densities differ in the last bit
    densest = torch.where(valid & (x == x.gather(1, at)) & (best > -torch.inf), position, k).amin(1)
    return torch.where(densest < k, densest + 1, count)


@_count_positives.register_fake
def _(scores: Tensor, count: Tensor) -> Tensor:
    """Return the shape of the result, for torch.compile."""
    return torch.empty_like(count)


def fit_mixtures(scores: Tensor, count: Tensor) -> Mixture:
    """Fit one mixture to the first `count` scores of each row by expectation maximisation.

    scores (G, K): ascending, any float type; those after the first `count` are not read. count (G,): int64, at least 1.
    Starts from weights 1/2, means at the lowest and the highest score, precisions 1. Returns tensors on the scores'
    device.
    """
    if scores.device.type != "cpu":
        if (kernel := _kernel(scores.device)) is not None:
            return kernel(scores, count)[0]
        return Mixture(*(t.to(scores.device) for t in fit_mixtures(scores.cpu(), count.cpu())))
    position = torch.arange(scores.shape[1])
    valid = (position < count[:, None])[:, None].double()
    x = torch.where(valid > 0, scores.double()[:, None], 0.0)
    highest = x.gather(2, (count - 1)[:, None, None])
    ones = x.new_ones(len(x), 2, 1)
    return _fit_on_host(Mixture(ones / 2, torch.cat([x[:, :, :1], highest], dim=1), ones), x, valid)


@functools.cache
def _kernel(device: torch.device) -> Callable[[Tensor, Tensor], tuple[Mixture, Tensor]] | None:
    """Return the kernel that fits and counts on the device, without waiting for it; None if it does not run there.

    Whether the kernel runs depends on the device, the version of triton, and the C compiler that triton asks for, so
    it is tried, once. Without it the host does the work: the scores are few, and a round in torch is 36 launches.
    """
    if device.type != "cuda":
        return None
    try:
        from paa.core._kernels.mixture import fit_and_count

        fit_and_count(torch.ones(1, 45, device=device), torch.ones(1, dtype=torch.int64, device=device))
    except Exception as error:
        warnings.warn(
            f"no kernel for the mixtures on {device}, so every step waits milliseconds for the CPU to fit them; "
            f"it takes triton and a C compiler ({type(error).__name__}: {error})",
            stacklevel=2,
        )
        return None
    return fit_and_count


def _round(mixture: Mixture, x: Any, valid: Any, share: Any) -> tuple[Mixture, Any]:
    """Run one expectation and one maximisation: the new parameters, and the mean log-likelihood (G,) of the given ones.

    x, valid (0 or 1), share (valid / number of scores): (G, 1, K), numpy arrays.
    """
    q = mixture.log_densities(x, np)
    log_density = np.logaddexp(q[:, :1], q[:, 1:])
    q -= log_density
    responsibility = np.exp(q)
    responsibility *= valid
    log_density *= share
    mass = responsibility.sum(2, keepdims=True) + _TINY
    means = (responsibility * x).sum(2, keepdims=True) / mass
    deviation = x - means
    deviation *= deviation
    deviation *= responsibility
    variances = deviation.sum(2, keepdims=True) / mass + _VARIANCE_FLOOR
    return Mixture(mass / mass.sum(1, keepdims=True), means, variances), log_density.sum(2)[:, 0]


@np.errstate(invalid="ignore")  # reporting NaN scores is left to the caller
def _fit_on_host(start: Mixture, x: Tensor, valid: Tensor) -> Mixture:
    """Fit in numpy, whose calls cost a third of torch's at this size; sets that have converged drop out.

    x, valid (0 or 1): (G, 1, K), float64.
    """
    result = [t.numpy().copy() for t in start]
    mixture, xs, valids = Mixture(*(t.numpy() for t in start)), x.numpy(), valid.numpy()
    share = valids / valids.sum(2, keepdims=True)
    rows, previous = np.arange(len(xs)), np.full(len(xs), -np.inf)
    for _ in range(_MAX_ROUNDS):
        mixture, likelihood = _round(mixture, xs, valids, share)
        moving = np.abs(likelihood - previous) >= _TOLERANCE
        previous = likelihood
        if moving.all():
            continue
        for whole, part in zip(result, mixture):
            whole[rows[~moving]] = part[~moving]
        mixture = Mixture(*(t[moving] for t in mixture))
        xs, valids, share, previous, rows = (a[moving] for a in (xs, valids, share, previous, rows))
        if len(rows) == 0:
            break
    for whole, part in zip(result, mixture):
        whole[rows] = part
    return Mixture(*(torch.from_numpy(t) for t in result))
