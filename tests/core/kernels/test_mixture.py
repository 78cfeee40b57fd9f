"""The kernel without a GPU: run by triton's interpreter it must decide as the host does, and it must compile.

Where there is a GPU the tests of `test_mixture.py` run it for real.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paa.core import mixture
from tests.core.test_mixture import CLOSE, KINDS, MOST, Array, draw_sets, fit_one, to_tensors

Kernel = Callable[..., tuple[Array, Array]]

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="no triton")


def host(scores: Array, count: Array) -> tuple[Array, Array]:
    """Return the parameters (G, 6) and the numbers of positives (G,)."""
    sets = to_tensors(scores, count)
    return torch.cat(mixture.fit_mixtures(*sets), 1)[..., 0].numpy(), mixture.count_positives(*sets).numpy()


def interpret(scores: Array, count: Array, constants: dict[str, float]) -> tuple[Array, Array]:
    """Return what `host` does, from the kernel, in another process; constants: to replace in `paa.core.mixture`."""
    from paa.core._kernels import mixture as kernels

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy warns where a GPU computes infinities and NaN silently
        for name, value in constants.items():
            patch.setattr(mixture, name, value)
        parameters, positives = kernels.fit_and_count(*to_tensors(scores, count), **mixture._constants())
    return parameters.flatten(1).numpy(), positives.numpy()


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    """The kernel, in a process of its own: the interpreter must be chosen before triton is imported."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRITON_INTERPRET", "1")
            pool.submit(int).result()  # the process starts with its first task

        def run(scores: Any, count: Any, **constants: float) -> tuple[Array, Array]:
            return pool.submit(interpret, np.asarray(scores), np.asarray(count), constants).result()

        yield run


@pytest.mark.parametrize("kind", KINDS)
def test_every_set_is_fitted_and_counted_as_on_the_host(kind: str, kernel: Kernel) -> None:
    """With as many positives as scikit-learn's too, but where those depend on less than CLOSE."""
    scores, count = draw_sets(kind, 30, 20)
    _, positives, stops, margins = (np.array(v) for v in zip(*(fit_one(row[:n]) for row, n in zip(scores, count))))
    close = np.minimum(stops, margins) < CLOSE
    fitted, ours = kernel(scores, count)
    expected, theirs = host(scores, count)
    np.testing.assert_allclose(fitted, expected, rtol=CLOSE, atol=CLOSE)
    assert not np.flatnonzero(((ours != positives) | (ours != theirs)) & ~close).tolist()


def test_a_hundred_rounds_at_most(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixture, "_TOLERANCE", 0.0)
    scores, count = draw_sets("mixed", 4, 1)
    np.testing.assert_allclose(kernel(scores, count, _TOLERANCE=0.0)[0], host(scores, count)[0], rtol=0, atol=1e-8)


def test_the_tolerance_is_compared_in_float64(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tolerance that float32 cannot hold, set just above and just below what a round changed."""
    scores, count = draw_sets("mixed", 1, 2)
    likelihoods = []
    for rounds in (3, 4):
        monkeypatch.setattr(mixture, "_MAX_ROUNDS", rounds)
        x = torch.from_numpy(scores[:, None, : count[0]])
        fitted = mixture.fit_mixtures(*to_tensors(scores, count))
        likelihoods.append(torch.logsumexp(fitted.log_densities(x, torch), 1).mean().item())
    monkeypatch.setattr(mixture, "_MAX_ROUNDS", 100)
    change = likelihoods[1] - likelihoods[0]
    results = []
    for tolerance in (change * (1 - 1e-9), change * (1 + 1e-9)):
        monkeypatch.setattr(mixture, "_TOLERANCE", tolerance)
        results.append(kernel(scores, count, _TOLERANCE=tolerance)[0])
        np.testing.assert_allclose(results[-1], host(scores, count)[0], rtol=CLOSE, atol=CLOSE)
    assert np.abs(results[0] - results[1]).max() > 1e-6


def test_no_score_few_scores_and_scores_that_are_no_numbers(kernel: Kernel) -> None:
    inf, nan = np.inf, np.nan
    rows = [
        [inf] * 6,
        [0.7, inf, inf, inf, nan, -inf],
        [0.5, 0.5, 0.5, 0.5, nan, 0.1],
        [0.1, 0.12, 0.14, 2.0, 2.1, 2.2],
        [0.5, 2.5, -inf, 1e300, 0.0, nan],
        [0.1, 1.0, 1.5, nan, nan, 0.1],
    ]
    count = np.array([0, 1, 4, 6, 2, 5])
    fitted, positives = kernel(rows, count)
    on_host = mixture.count_positives(*to_tensors(np.array(rows), count))
    assert positives.tolist() == on_host.tolist() == [0, 1, 1, 2, 1, 5]
    assert np.isfinite(fitted[1:5]).all()


@pytest.mark.parametrize("columns", [1, 2, MOST, 100])
def test_any_number_of_columns(columns: int, kernel: Kernel) -> None:
    random = np.random.default_rng(columns)
    scores = np.sort(random.gamma(2.0, 0.7, (5, columns)).astype(np.float32))
    count = np.array([columns, 1, (columns + 1) // 2, columns, 1])
    for given in (scores, scores.astype(np.float16).astype(np.float64), scores[:0]):
        fitted, positives = kernel(given, count[: len(given)])
        if len(given):
            expected = host(given, count)
            np.testing.assert_allclose(fitted, expected[0], rtol=CLOSE, atol=CLOSE)
            assert positives.tolist() == expected[1].tolist()
        else:
            assert fitted.shape == (0, 6)
            assert positives.shape == (0,)


def test_half_precision_is_fitted_in_float64(kernel: Kernel) -> None:
    scores, count = draw_sets("halves", 5, 3)
    for ours, same in zip(kernel(scores.astype(np.float16), count), kernel(scores, count)):
        np.testing.assert_array_equal(ours, same)


@pytest.mark.parametrize(("lanes", "scores"), [(64, "fp32"), (64, "fp64"), (1, "fp16")])
def test_it_compiles(lanes: int, scores: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To machine code, which takes no GPU: the interpreter accepts much that does not compile."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from paa.core._kernels.mixture import _fit_and_count

    constants = {"lanes": lanes, "tolerance": 1e-3, "max_rounds": 100, "variance_floor": 1e-6, "tiny": mixture._TINY}
    pointers = {"scores": f"*{scores}", "count": "*i64", "parameters": "*fp64", "positives": "*i64", "columns": "i32"}
    source = ASTSource(_fit_and_count, {**pointers, **dict.fromkeys(constants, "constexpr")}, constants)
    compiled = triton.compile(source, GPUTarget("cuda", 90, 32), options={"num_warps": 1, "enable_fp_fusion": False})
    assert "_fit_and_count" in compiled.asm["ptx"]
    assert "ld.local" not in compiled.asm["ptx"]
