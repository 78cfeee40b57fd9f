"""The mixtures of `core/mixture.py` on a GPU: one kernel, a program for each set, everything in registers.

A set's rounds depend on each other, and a round is a few hundred operations: as separate kernels their launches would
cost a hundred times their work. Here each set runs until it has converged, and the host waits for nothing. Importing
this file takes triton, which comes with torch on Linux; running it takes a C compiler, with which triton builds its
launcher.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from paa.core import mixture


@triton.jit
def _log_density(x: tl.tensor, weight: tl.tensor, mean: tl.tensor, variance: tl.tensor) -> tl.tensor:
    """Return the weighted log-density without the constant -log(2 pi) / 2, which cancels in comparisons."""
    precision = 1 / variance
    deviation = x - mean
    return 0.5 * (tl.log(weight * weight * precision) - precision * deviation * deviation)


@triton.jit
def _moments(
    x: tl.tensor, responsibility: tl.tensor, variance_floor: tl.constexpr, tiny: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Return mass, mean and variance of one component."""
    mass = tl.sum(responsibility) + tiny
    mean = tl.sum(responsibility * x) / mass
    deviation = x - mean
    return mass, mean, tl.sum(responsibility * deviation * deviation) / mass + variance_floor


@triton.jit
def _fit_and_count(
    scores: tl.tensor,
    count: tl.tensor,
    parameters: tl.tensor,
    positives: tl.tensor,
    columns: tl.tensor,
    lanes: tl.constexpr,
    tolerance: tl.constexpr,
    max_rounds: tl.constexpr,
    variance_floor: tl.constexpr,
    tiny: tl.constexpr,
) -> None:
    """Fit set number `program_id` and count its positives.

    scores (G, columns), count (G,) -> parameters (G, 6), positives (G,). The constants are compiled in: as arguments
    triton would make them float32.
    """
    row = tl.program_id(0).to(tl.int64)
    num_scores = tl.load(count + row)
    share = 1 / num_scores.to(tl.float64)
    lane = tl.arange(0, lanes)
    valid = lane < num_scores
    x = tl.load(scores + row * columns + lane, mask=valid, other=0.0).to(tl.float64)

    low_mean = tl.min(tl.where(valid, x, float("inf")))
    high_mean = tl.max(tl.where(valid, x, float("-inf")))
    low_weight = tl.full([], 0.5, tl.float64)
    high_weight = tl.full([], 0.5, tl.float64)
    low_variance = tl.full([], 1.0, tl.float64)
    high_variance = tl.full([], 1.0, tl.float64)
    likelihood = tl.full([], float("-inf"), tl.float64)
    change = tl.full([], float("inf"), tl.float64)
    least_change = tl.full([], tolerance, tl.float64)  # older triton compares a bare constant as float32
    rounds = 0
    # the likelihood of a set without scores, or with a NaN among them, is NaN, so the loop ends at once
    while (rounds < max_rounds) & (change >= least_change):
        low = _log_density(x, low_weight, low_mean, low_variance)
        high = _log_density(x, high_weight, high_mean, high_variance)
        ratio = tl.exp(-tl.abs(low - high))
        larger = tl.where(valid, 1 / (1 + ratio), 0.0)
        smaller = ratio * larger
        previous = likelihood
        likelihood = tl.sum(tl.where(valid, tl.maximum(low, high) + tl.log(1 + ratio), 0.0)) * share
        change = tl.abs(likelihood - previous)
        is_low = low >= high
        low_mass, low_mean, low_variance = _moments(x, tl.where(is_low, larger, smaller), variance_floor, tiny)
        high_mass, high_mean, high_variance = _moments(x, tl.where(is_low, smaller, larger), variance_floor, tiny)
        low_weight = low_mass / (low_mass + high_mass)
        high_weight = high_mass / (low_mass + high_mass)
        rounds += 1

    low = _log_density(x, low_weight, low_mean, low_variance)
    high = _log_density(x, high_weight, high_mean, high_variance)
    density = tl.maximum(low, high) + tl.log(1 + tl.exp(-tl.abs(low - high)))
    density = tl.where(valid & (low >= high), density, float("-inf"))
    best = tl.max(density)
    # equal scores count as equally dense, even if their densities differ in the last bit
    peak = tl.min(tl.where(density == best, x, float("inf")))
    up_to_peak = tl.sum((valid & (x < peak)).to(tl.int64)) + 1
    tl.store(positives + row, tl.where(best > float("-inf"), up_to_peak, num_scores))
    tl.store(parameters + row * 6, low_weight)
    tl.store(parameters + row * 6 + 1, high_weight)
    tl.store(parameters + row * 6 + 2, low_mean)
    tl.store(parameters + row * 6 + 3, high_mean)
    tl.store(parameters + row * 6 + 4, low_variance)
    tl.store(parameters + row * 6 + 5, high_variance)


def fit_and_count(scores: Tensor, count: Tensor) -> tuple[mixture.Mixture, Tensor]:
    """Return what `fit_mixtures` and `count_positives` return, for scores (G, K) and count (G,) on a GPU."""
    scores, count = scores.contiguous(), count.contiguous()
    sets, columns = scores.shape
    parameters = torch.empty((sets, 3, 2, 1), dtype=torch.float64, device=scores.device)
    positives = torch.empty_like(count)
    if sets:
        with torch.cuda.device_of(scores):  # triton launches on the current device
            _fit_and_count[(sets,)](
                scores,
                count,
                parameters,
                positives,
                columns,
                lanes=triton.next_power_of_2(columns),
                tolerance=mixture._TOLERANCE,
                max_rounds=mixture._MAX_ROUNDS,
                variance_floor=mixture._VARIANCE_FLOOR,
                tiny=mixture._TINY,
                num_warps=1,
                enable_fp_fusion=False,
            )
    return mixture.Mixture(*parameters.unbind(1)), positives
