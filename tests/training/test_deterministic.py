"""Two runs with `deterministic` are equal to the bit, and no operator that they use lacks a deterministic form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from paa.training.train import train
from tests.training.runs import CPU, Micro, differences, load, read_log, timeless


def test_two_runs_are_equal(tmp_path: Path, micro: Micro, caplog: pytest.LogCaptureFixture) -> None:
    """With workers, trained batch norm, mosaics, averaged weights, clipping and a validation."""
    shared: dict[str, Any] = {
        "model": {"norm": "batch"},
        "augment": {"mosaic": 0.5, "color_jitter": 0.2, "scale_jitter": (0.5, 1.5)},
        "schedule": {"frozen_stages": 0, "optimizer": "adamw", "ema": 0.5, "clip_norm": 1.0},
        "validation": {"batch_size": 1, "interval": 2},
        "runtime": {"workers": 2, "deterministic": True},
    }
    one, two = (train(micro(tmp_path / name, **shared), CPU) for name in ("one", "two"))
    for a, b in ((one.last, two.last), (one.best, two.best)):
        assert a is not None
        assert b is not None
        assert differences(load(a), load(b)) == []
    assert timeless(read_log(one.log)) == timeless(read_log(two.log))
    assert not [line for line in caplog.messages if "deterministic" in line]
    assert not torch.are_deterministic_algorithms_enabled()
