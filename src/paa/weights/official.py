"""Checkpoints of the authors' code (kkhoot/PAA): the seed's tensors under `model`, named a little differently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from paa.weights import seed
from paa.weights.state import Weights


def recognises(content: Mapping[str, Any]) -> bool:
    """Say whether a file's content is of that kind: `model` holds `rpn.head.*`, perhaps all under `module.`."""
    state = content.get("model")
    return isinstance(state, Mapping) and any(_plain(str(n)).startswith("rpn.head.") for n in state)


def read(content: Mapping[str, Any]) -> Weights:
    """Turn its tensors into ours; the anchors' buffers are dropped, as `anchors.py` makes them anew.

    The ResNeXt-152 is tested at a short side of 864 (its configuration file says so), all others at 800.
    """
    state: dict[str, Tensor] = {
        _plain(name).removeprefix("rpn.") if _plain(name).startswith("rpn.head.") else _plain(name): tensor
        for name, tensor in content["model"].items()
        if not _plain(name).startswith("rpn.anchor_generator.")
    }
    weights = seed.read(state, format="official (kkhoot/PAA)")
    if weights.config.backbone == "resnext152_32x8d":
        weights = weights._replace(config=replace(weights.config, test_short=864, test_longest=1440))
    if "iteration" in content:
        weights = weights._replace(provenance={**weights.provenance, "iteration": str(content["iteration"])})
    return weights


def _plain(name: str) -> str:
    """Return a name without what DistributedDataParallel put before it."""
    return name.removeprefix("module.")
