"""The numbers of MMDetection's assigners: see `tests/golden/README.md`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from paa.core import HeadOutputs
from tests.scenes import LEVEL_SIZES, Scene

_FILE = Path(__file__).parents[1] / "golden" / "assigners" / "mmdet.npz"


@cache
def _arrays() -> dict[str, Tensor]:
    with np.load(_FILE) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def golden_scene() -> Scene:
    """Return the batch that MMDetection's assigners were given."""
    arrays = _arrays()
    logits, deltas = arrays["cls_logits"].float(), arrays["deltas"].float()
    outputs = HeadOutputs(logits, deltas, torch.zeros_like(logits[..., 0]), LEVEL_SIZES)
    return Scene(outputs, arrays["gt_boxes"].float(), arrays["gt_labels"].long())


def golden(name: str) -> Tensor:
    """Return what a rule gave there (B, N): the object of each anchor, -1 for none; or another number of each."""
    array = _arrays()[name]
    return array if array.is_floating_point() else array.long()
