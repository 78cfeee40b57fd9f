"""The assignment of MMDetection's ATSSAssigner, in golden numbers."""

from __future__ import annotations

import torch

from paa.assigners import AtssAssigner
from tests.assigners.goldens import golden, golden_scene
from tests.assigners.rules import owners


def test_it_is_mmdetections() -> None:
    expected = golden("atss")
    assert (expected >= 0).sum() > 100
    assert torch.equal(owners(AtssAssigner(), golden_scene()), expected)
