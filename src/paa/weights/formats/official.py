"""Checkpoints of the authors' code (kkhoot/PAA): the seed's tensors, with the head under `rpn.`, and anchor buffers."""

from __future__ import annotations

from dataclasses import replace

from paa.weights.formats.seed import legacy_weights
from paa.weights.state import Checkpoint, Weights


def recognises(file: Checkpoint) -> bool:
    """Return whether a file has the official code's names, and no second stage as torchvision's Faster R-CNN has."""
    second_stage = any(str(name).startswith("roi_heads.") for name in file.state)
    return "rpn.head.cls_logits.weight" in file.state and not second_stage


def read(file: Checkpoint) -> Weights:
    """Return the tensors under our names, without the anchors' buffers, which `core.anchors` computes.

    The ResNeXt-152 is tested at min_size 864 (by the official configuration file), all others at 800. The provenance
    has the training step, if the file does.
    """
    under_seed_names = {
        f"head.{name.removeprefix('rpn.head.')}" if name.startswith("rpn.head.") else name: tensor
        for name, tensor in file.state.items()
        if not name.startswith("rpn.anchor_generator.")
    }
    weights = legacy_weights(under_seed_names, "official (kkhoot/PAA)")
    if weights.config.backbone == "resnext152_32x8d":
        weights = weights._replace(config=replace(weights.config, min_size=864, max_size=1440))
    if "iteration" in file.values:
        weights = weights._replace(provenance={**weights.provenance, "iteration": str(file.values["iteration"])})
    return weights
