"""Torch's switches for equal bits: set in the block, and put back after it."""

from __future__ import annotations

import os
import warnings

import pytest
import torch

from paa.runtime.determinism import deterministic


def settings() -> tuple[object, ...]:
    cudnn = torch.backends.cudnn
    enabled = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    return *enabled, cudnn.deterministic, cudnn.benchmark, warnings.showwarning


def test_switches_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = settings()
    with deterministic(print):
        assert settings()[:4] == (True, True, True, False)
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert settings() == before


def test_an_operator_without_a_deterministic_form_is_named_once() -> None:
    lines: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with deterministic(lines.append):
            for _ in range(2):
                torch.zeros(3).put_(torch.tensor([0, 0]), torch.ones(2))
            with pytest.warns(UserWarning, match="something else"):
                warnings.warn("something else", stacklevel=1)
    assert lines == ["put_ has no deterministic form on this device: two runs may differ in spite of deterministic"]
