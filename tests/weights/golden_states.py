"""Whole checkpoints of other implementations from names and shapes alone, and their golden results."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from paa.model.detector import Detector
from tests.parity import Report, check_model, filled

GOLDEN = Path(__file__).parent.parent / "golden"


def read_json(name: str) -> Any:
    return json.loads((GOLDEN / name).read_text())


def named_shapes(key: str) -> dict[str, tuple[int, ...]]:
    """Name -> shape of `mmdet` or of one of the seed's recipes."""
    shapes = read_json("mmdet_state_dict.json") if key == "mmdet" else read_json("seed_state_dicts.json")[key]
    return {name: tuple(shape) for name, shape in shapes.items()}


@functools.cache
def _filled(key: str) -> dict[str, Tensor]:
    return filled(GOLDEN, {name: list(shape) for name, shape in named_shapes(key).items()})


def golden_state(key: str) -> dict[str, Tensor]:
    """Return the state dict of `mmdet` or of one of the seed's recipes; a fresh dictionary of shared tensors."""
    return dict(_filled(key))


def digests(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the SHA-256 of each tensor's type, shape and bytes."""
    found = {}
    for name, tensor in tensors.items():
        data = tensor.detach().cpu().contiguous()
        head = f"{data.dtype} {tuple(data.shape)}".encode()
        found[name] = hashlib.sha256(head + data.reshape(-1).numpy().tobytes()).hexdigest()
    return found


_reports: dict[str, Report] = {}


def assert_golden(model: Detector, key: str) -> None:
    """Assert that features, head outputs and detections are the golden ones; models equal to the bit are run once."""
    name = "mmdet_r50" if key == "mmdet" else f"model_{key}"
    what = f"{key} {model.config} {sorted(digests(model.state_dict()).items())}"
    if what not in _reports:
        report = Report(name)
        with np.load(GOLDEN / f"{name}.npz") as golden:
            check_model(report, dict(golden), model)
        _reports[what] = report
    assert _reports[what].passed, _reports[what].line()
