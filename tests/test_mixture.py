"""scikit-learn's GaussianMixture, one set at a time, is the yardstick: every set must be cut where it cuts."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import sklearn
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from paa import mixture

Array = npt.NDArray[Any]
MOST = 45
SETS = 3000
CLOSE = 1e-9
"""A decision that hangs on a difference below this may go either way."""


def draw_separated(random: np.random.Generator, n: int) -> Array:
    good = random.integers(1, n) if n > 1 else 1
    return np.concatenate([random.normal(0.5, 0.05, good), random.normal(2.0, 0.2, n - good)])


def draw_mixed(random: np.random.Generator, n: int) -> Array:
    low, high = random.uniform(0.3, 1.0), random.uniform(0.8, 2.0)
    return np.where(random.random(n) < random.uniform(0.1, 0.9), *random.normal([[low], [high]], 0.3, (2, n)))


def draw_tied(random: np.random.Generator, n: int) -> Array:
    return random.integers(1, random.integers(2, 8), n) / 4.0


def draw_constant(random: np.random.Generator, n: int) -> Array:
    return random.uniform(0.2, 2) + 10.0 ** random.uniform(-8, -2) * random.normal(size=n)


def draw_outliers(random: np.random.Generator, n: int) -> Array:
    far = min(int(random.integers(1, 4)), n - 1)
    return np.concatenate([random.normal(0.9, 0.02, n - far), random.uniform(3, 300, far)])


def draw_exponential(random: np.random.Generator, n: int) -> Array:
    return random.exponential(random.uniform(0.01, 3), n)


def draw_halves(random: np.random.Generator, n: int) -> Array:
    """Scores as they come from half precision, in float32."""
    return random.gamma(2.0, 0.7, n).astype(np.float16).astype(np.float32)


KINDS = {
    "separated": draw_separated,
    "mixed": draw_mixed,
    "tied": draw_tied,
    "constant": draw_constant,
    "outliers": draw_outliers,
    "exponential": draw_exponential,
    "halves": draw_halves,
}


class Reference(NamedTuple):
    """What scikit-learn says of S sets: its cuts, parameters (S, 2, 1), and whose cut hangs on less than CLOSE."""

    scores: Array
    count: Array
    cuts: Array
    weights: Array
    means: Array
    variances: Array
    stop_margin: Array
    close: Array


def draw_sets(kind: str, sets: int, seed: int) -> tuple[Array, Array]:
    """Return scores (S, MOST), ascending, NaN behind the last of each row, and how many there are in each (S,)."""
    random = np.random.default_rng([seed, *kind.encode()])
    count = random.integers(2, MOST + 1, sets)
    rows = [np.sort(np.abs(KINDS[kind](random, int(n)))) for n in count]
    scores = np.full((sets, MOST), np.nan, rows[0].dtype)
    for row, values in zip(scores, rows):
        row[: len(values)] = values
    return scores, count


def fit_one(x: Array) -> tuple[GaussianMixture, int, float, float]:
    """Fit one set x (n,), ascending: the model, its cut, how near it was to stopping in another round, and how near the
    cut is to falling elsewhere."""
    column = x.astype(np.float64)[:, None]
    model = GaussianMixture(
        2, weights_init=[0.5, 0.5], means_init=[column[0], column[-1]], precisions_init=[[[1.0]], [[1.0]]]
    ).fit(column)
    foreground, density = model.predict(column) == 0, model.score_samples(column)
    bounds = np.array(getattr(model, "lower_bounds_", ()))  # new in scikit-learn 1.7
    stop = np.abs(np.abs(np.diff(bounds)) - 1e-3).min(initial=np.inf)

    variance = model.covariances_.ravel()
    q = np.log(model.weights_) - 0.5 * np.log(variance) - 0.5 * (column - model.means_.ravel()) ** 2 / variance
    best = density[foreground].max(initial=-np.inf)
    # a candidate that could become the densest of the foreground, or stop being it
    margin = np.abs(q[:, 0] - q[:, 1])[density >= best - CLOSE].min(initial=np.inf)
    if not foreground.any():
        return model, len(x), stop, margin
    peak = x[np.flatnonzero(foreground)[density[foreground].argmax()]]
    rivals = density[foreground & (x != peak)]
    # of equal scores the first: the last bits of their densities differ by where they stand in the array
    cut = int(np.flatnonzero(foreground & (x == peak))[0]) + 1
    return model, cut, stop, min(margin, (best - rivals).min(initial=np.inf))


@functools.cache
def reference(kind: str, sets: int = SETS, seed: int = 0) -> Reference:
    scores, count = draw_sets(kind, sets, seed)
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
        models, cuts, stops, margins = zip(*(fit_one(row[:n]) for row, n in zip(scores, count)))
    return Reference(
        scores,
        count,
        np.array(cuts),
        np.array([m.weights_[:, None] for m in models]),
        np.array([m.means_ for m in models]),
        np.array([m.covariances_[:, 0] for m in models]),
        np.array(stops),
        np.minimum(stops, margins) < CLOSE,
    )


def to_tensors(scores: Array, count: Array, device: str = "cpu") -> tuple[Tensor, Tensor]:
    return torch.from_numpy(scores).to(device), torch.from_numpy(count).to(device)


@pytest.fixture(params=["host", "device", "cuda"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every way of fitting: the host's, the accelerator's run on a CPU, the accelerator's where it belongs."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    if request.param == "device":
        monkeypatch.setattr(mixture, "_fit_host", mixture._fit_device)
    return "cuda" if request.param == "cuda" else "cpu"


def test_there_are_twenty_thousand_sets() -> None:
    assert SETS * len(KINDS) >= 20_000


@pytest.mark.parametrize("kind", KINDS)
def test_cuts_are_scikit_learns(kind: str, device: str) -> None:
    expected = reference(kind)
    cuts = mixture.cut(*to_tensors(expected.scores, expected.count, device)).cpu().numpy()
    differs = cuts != expected.cuts
    print(f"{kind}: {differs.sum()} of {len(cuts)} differ, {expected.close.sum()} hang on less than {CLOSE}")
    assert not np.flatnonzero(differs & ~expected.close).tolist()
    # sets that are nearly constant make two components of nearly the same shape, and of all ties one of three
    assert expected.close.mean() < (0.25 if kind in ("constant", "tied") else 0.002)
    assert differs.mean() < 0.002


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_scikit_learns(kind: str, device: str) -> None:
    expected = reference(kind)
    fitted = mixture.fit(*to_tensors(expected.scores, expected.count, device))
    # where a round more or less was a close call the parameters may be another round's
    sure = expected.stop_margin >= CLOSE
    assert sure.mean() > 0.99
    for name in ("weights", "means", "variances"):
        ours, theirs = getattr(fitted, name).cpu().numpy(), getattr(expected, name)
        assert ours.dtype == np.float64
        np.testing.assert_allclose(ours[sure], theirs[sure], rtol=CLOSE, atol=CLOSE, err_msg=f"{kind} {name}")
