"""scikit-learn's GaussianMixture, one set at a time, is the reference: every set must have as many positives."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import sklearn
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from paa.core import mixture

Array = npt.NDArray[Any]
MOST = 45
SETS = 3000
CLOSE = 1e-9
"""A decision that depends on a difference below this may differ."""


def draw_separated(random: np.random.Generator, n: int) -> Array:
    good = random.integers(1, n) if n > 1 else 1
    return np.concatenate([random.normal(0.5, 0.05, good), random.normal(2.0, 0.2, n - good)])


def draw_mixed(random: np.random.Generator, n: int) -> Array:
    low, high = random.uniform(0.3, 1.0), random.uniform(0.8, 2.0)
    return np.where(random.random(n) < random.uniform(0.1, 0.9), *random.normal([[low], [high]], 0.3, (2, n)))


def draw_tied(random: np.random.Generator, n: int) -> Array:
    return random.integers(1, random.integers(2, 8), n) / 4.0


def draw_constant(random: np.random.Generator, n: int) -> Array:
    return random.uniform(0.2, 2) + 10.0 ** random.uniform(-6, -1) * random.normal(size=n)


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

# Two low scores far from all others are equally dense, being equally far from their mean; scores that are nearly
# constant make two components of one shape.
ALLOWED_CLOSE = {"separated": 0.1, "tied": 0.25, "constant": 0.5}


class Reference(NamedTuple):
    """What scikit-learn makes of S sets: numbers of positives, parameters (S, 2, 1), and which sets are close calls.

    close (S,): the number of positives depends on a difference of less than CLOSE.
    """

    scores: Array
    count: Array
    positives: Array
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
    """Fit one set x (n,), ascending.

    Returns the model, the number of positives, how near the model was to stopping in another round, and how near the
    number of positives was to another.
    """
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
    positives = int(np.flatnonzero(foreground & (x == peak))[0]) + 1
    return model, positives, stop, min(margin, (best - rivals).min(initial=np.inf))


def reference(kind: str) -> Reference:
    scores, count = draw_sets(kind, SETS, 0)
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
        models, positives, stops, margins = zip(*(fit_one(row[:n]) for row, n in zip(scores, count)))
    return Reference(
        scores,
        count,
        np.array(positives),
        np.array([m.weights_[:, None] for m in models]),
        np.array([m.means_ for m in models]),
        np.array([m.covariances_[:, 0] for m in models]),
        np.array(stops),
        np.minimum(stops, margins) < CLOSE,
    )


def to_tensors(scores: Array, count: Array, device: str = "cpu") -> tuple[Tensor, Tensor]:
    return torch.from_numpy(scores).to(device), torch.from_numpy(count).to(device)


DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


@pytest.fixture(params=("cpu", "cuda"))
def device(request: pytest.FixtureRequest) -> str:
    if request.param not in DEVICES:
        pytest.skip("no CUDA device")
    return str(request.param)


def test_there_are_twenty_thousand_sets() -> None:
    assert SETS * len(KINDS) >= 20_000


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_set_has_as_many_positives_as_with_scikit_learn(kind: str) -> None:
    """All devices in one test, so that each kind's reference, which takes seconds, is made once."""
    expected = reference(kind)
    assert expected.close.mean() < ALLOWED_CLOSE.get(kind, 0.03)
    # where a round more or less is a close call the parameters may be another round's
    sure = expected.stop_margin >= CLOSE
    assert sure.mean() > 0.99
    for device in DEVICES:
        sets = to_tensors(expected.scores, expected.count, device)
        positives, fitted = mixture.count_positives(*sets).cpu().numpy(), mixture.fit_mixtures(*sets)
        differs = positives != expected.positives
        print(f"{kind}, {device}: {differs.sum()} of {SETS} differ, {expected.close.sum()} depend on less than {CLOSE}")
        assert not np.flatnonzero(differs & ~expected.close).tolist()
        assert differs.mean() < 0.02
        for name in mixture.Mixture._fields:
            ours, theirs = getattr(fitted, name).cpu().numpy(), getattr(expected, name)
            assert ours.dtype == np.float64
            np.testing.assert_allclose(ours[sure], theirs[sure], rtol=CLOSE, atol=CLOSE, err_msg=f"{kind} {name}")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_hundred_rounds_at_most(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real scores converge long before; without a tolerance none does."""
    monkeypatch.setattr(mixture, "_TOLERANCE", 0.0)
    scores, count = draw_sets("mixed", 15, 1)
    ours = mixture.fit_mixtures(*to_tensors(scores, count, device)).means[..., 0].cpu().numpy()
    means = {}
    for rounds in (99, 100):
        models = [
            GaussianMixture(
                2,
                tol=0.0,
                max_iter=rounds,
                weights_init=[0.5, 0.5],
                means_init=[row[:1], row[n - 1 : n]],
                precisions_init=[[[1.0]], [[1.0]]],
            ).fit(row[:n, None])
            for row, n in zip(scores, count)
        ]
        means[rounds] = np.array([model.means_[:, 0] for model in models])
    np.testing.assert_allclose(ours, means[100], rtol=0, atol=1e-8)
    assert np.abs(means[99] - means[100]).max() > 1e-6


@pytest.mark.parametrize(
    ("scores", "positives"),
    [
        ([0.1, 0.12, 0.14, 2.0, 2.1, 2.2], 2),
        # the foreground is not a prefix: a wide component takes both ends
        ([0.16, 0.51, 0.67, 0.68, 0.68, 0.78, 1.54], 3),
        ([0.41, 0.87, 1.31, 1.44, 1.45, 1.49, 1.59, 2.56], 5),
        ([0.56, 0.99, 1.14, 1.2, 1.2, 1.33, 1.4, 2.03], 4),
        ([0.24, 0.91, 0.99, 1.0, 1.15, 2.01], 4),
        # all the same: the first of equally dense ones
        ([0.5, 0.5, 0.5, 0.5], 1),
        ([0.5, 2.5], 1),
    ],
)
def test_golden_numbers_of_positives(scores: list[float], positives: int, device: str) -> None:
    """Worked out with scikit-learn 1.9."""
    row = torch.tensor([scores], dtype=torch.float64, device=device)
    assert mixture.count_positives(row, torch.tensor([len(scores)]).to(device)).tolist() == [positives]


def test_the_foreground_need_not_be_a_prefix() -> None:
    scores = torch.tensor([[0.41, 0.87, 1.31, 1.44, 1.45, 1.49, 1.59, 2.56]], dtype=torch.float64)
    low, high = mixture.fit_mixtures(scores, torch.tensor([8])).log_densities(scores[:, None], torch).unbind(1)
    assert (low >= high).int().tolist() == [[0, 0, 1, 1, 1, 1, 1, 0]]


def test_without_foreground_all_are_positive(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody_low(scores: Tensor, count: Tensor) -> mixture.Mixture:
        ones = scores.new_ones(len(scores), 2, 1)
        return mixture.Mixture(ones * torch.tensor([[1e-9], [1.0]]), ones, ones)

    monkeypatch.setattr(mixture, "fit_mixtures", nobody_low)
    assert mixture.count_positives(torch.rand(3, 6).sort(1).values, torch.tensor([6, 2, 0])).tolist() == [6, 2, 0]


def test_none_one_and_many_candidates(device: str) -> None:
    scores = torch.tensor([[torch.inf] * 5, [0.7] + [torch.inf] * 4, [0.1, 0.11, 3.0, torch.inf, torch.inf]])
    assert mixture.count_positives(scores.to(device), torch.tensor([0, 1, 3]).to(device)).tolist()[:2] == [0, 1]
    empty = torch.zeros(0, dtype=torch.int64, device=device)
    assert mixture.count_positives(scores[:0].to(device), empty).shape == (0,)


def test_the_padding_is_not_read(device: str) -> None:
    scores, count = draw_sets("mixed", 300, 7)
    behind = np.arange(MOST) >= count[:, None]
    positives, weights = [], []
    for padding in (np.nan, np.inf, -np.inf, 0.0, 1e300):
        padded = to_tensors(np.where(behind, padding, scores), count, device)
        positives.append(mixture.count_positives(*padded))
        weights.append(torch.cat(mixture.fit_mixtures(*padded), 2))
    assert all(torch.equal(positives[0], other) for other in positives)
    assert all(torch.equal(weights[0], other) for other in weights)
    assert torch.isfinite(weights[0]).all()


def test_sets_do_not_affect_each_other(device: str) -> None:
    parts = [draw_sets(kind, 60, 11) for kind in ("separated", "mixed", "outliers", "exponential")]
    scores, count = to_tensors(*(np.concatenate(part) for part in zip(*parts)), device)
    together, positives = torch.cat(mixture.fit_mixtures(scores, count), 2), mixture.count_positives(scores, count)
    order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(0)).to(scores.device)
    torch.testing.assert_close(
        torch.cat(mixture.fit_mixtures(scores[order], count[order]), 2), together[order], rtol=CLOSE, atol=0
    )
    assert torch.equal(mixture.count_positives(scores[order], count[order]), positives[order])
    for row in range(0, len(scores), 5):
        own = int(count[row])  # alone, and without any padding
        alone = scores[row : row + 1, :own], count[row : row + 1]
        fitted = torch.cat(mixture.fit_mixtures(*alone), 2)
        torch.testing.assert_close(fitted, together[row : row + 1], rtol=CLOSE, atol=CLOSE)
        assert mixture.count_positives(*alone).tolist() == [int(positives[row])]


def test_any_float_type_is_fitted_in_float64(device: str) -> None:
    scores, count = to_tensors(*draw_sets("halves", 500, 3), device)
    assert scores.dtype == torch.float32
    for same in (scores.half(), scores.double()):
        assert torch.equal(mixture.count_positives(same, count), mixture.count_positives(scores, count))
        assert torch.equal(mixture.fit_mixtures(same, count).means, mixture.fit_mixtures(scores, count).means)


def test_inputs_stay_as_they_are(device: str) -> None:
    scores, count = to_tensors(*draw_sets("mixed", 50, 4), device)
    before = scores.clone(), count.clone()
    mixture.count_positives(scores, count)
    mixture.fit_mixtures(scores, count)
    assert torch.equal(count, before[1])
    torch.testing.assert_close(scores, before[0], rtol=0, atol=0, equal_nan=True)


def test_a_fit_is_a_mixture(device: str) -> None:
    for kind in KINDS:
        scores, count = to_tensors(*draw_sets(kind, 200, 5), device)
        fitted = mixture.fit_mixtures(scores, count)
        torch.testing.assert_close(fitted.weights.sum(1), torch.ones_like(fitted.weights[:, 0]), rtol=0, atol=1e-12)
        assert (fitted.variances >= mixture._VARIANCE_FLOOR).all()
        first, last = scores[:, 0].double(), scores.gather(1, (count - 1)[:, None])[:, 0].double()
        slack = 1e-9 * last[:, None]
        assert (fitted.means[..., 0] >= first[:, None] - slack).all()
        assert (fitted.means[..., 0] <= last[:, None] + slack).all()
        positives = mixture.count_positives(scores, count)
        assert ((positives >= 1) & (positives <= count)).all()


@pytest.fixture
def _untried() -> Iterator[None]:
    """Forget before and after whether the kernel runs."""
    mixture._kernel.cache_clear()
    yield
    mixture._kernel.cache_clear()


@pytest.mark.usefixtures("_untried")
def test_a_kernel_that_does_not_run_is_warned_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paa.core._kernels.mixture", None)
    with pytest.warns(UserWarning, match="no kernel for the mixtures on cuda"):
        assert mixture._kernel(torch.device("cuda")) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mixture._kernel(torch.device("cuda")) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_kernel_runs_and_the_host_stands_in_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert mixture._kernel(torch.device("cuda", 0)) is not None
    sets = to_tensors(*draw_sets("mixed", 100, 6), "cuda:0")
    fitted, positives = mixture.fit_mixtures(*sets), mixture.count_positives(*sets)
    monkeypatch.setattr(mixture, "_kernel", lambda device: None)
    torch.testing.assert_close(torch.cat(mixture.fit_mixtures(*sets), 2), torch.cat(fitted, 2), rtol=CLOSE, atol=CLOSE)
    assert torch.equal(mixture.count_positives(*sets), positives)
