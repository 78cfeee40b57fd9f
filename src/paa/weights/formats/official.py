"""Checkpoints of the authors' code (kkhoot/PAA): the seed's tensors, the head under `rpn.`, and anchor buffers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from paa.weights.formats import seed
from paa.weights.state import Weights


def recognises(state: Mapping[str, Any]) -> bool:
    """Say whether these are its names; torchvision's Faster R-CNN, which has the head's too, has a second stage."""
    return "rpn.head.cls_logits.weight" in state and not any(str(name).startswith("roi_heads.") for name in state)


def read(state: Mapping[str, Tensor], content: Mapping[str, Any]) -> Weights:
    """Turn its tensors into ours; the anchors' buffers are dropped, as `anchors.py` makes them anew.

    content: of the whole file, for the number of its training step. The ResNeXt-152 is tested at a short side of 864
    (its configuration file says so), all others at 800.
    """
    seeds = {
        f"head.{name.removeprefix('rpn.head.')}" if name.startswith("rpn.head.") else name: tensor
        for name, tensor in state.items()
        if not name.startswith("rpn.anchor_generator.")
    }
    weights = seed.read(seeds, format="official (kkhoot/PAA)")
    if weights.config.backbone == "resnext152_32x8d":
        weights = weights._replace(config=replace(weights.config, min_size=864, max_size=1440))
    if "iteration" in content:
        weights = weights._replace(provenance={**weights.provenance, "iteration": str(content["iteration"])})
    return weights
