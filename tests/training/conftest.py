"""Runs that several tests compare with; no test writes to them."""

from __future__ import annotations

import pytest

from paa.training.records import TrainResult
from paa.training.train import train
from tests.training.runs import CPU, Micro


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, micro: Micro) -> TrainResult:
    """Return a run of `micro`'s four steps that was never stopped."""
    return train(micro(tmp_path_factory.mktemp("runs") / "whole"), CPU)
