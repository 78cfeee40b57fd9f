"""Checkpoints of MMDetection's PAA: `state_dict` and `meta`, batch norm in evaluation mode."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from paa.config import IMAGENET_MEAN, IMAGENET_STD, ModelConfig
from paa.weights.state import Weights

_RENAMES = (
    (r"^neck\.lateral_convs\.(\d)\.conv\.", r"fpn.lateral.\1."),
    (r"^neck\.fpn_convs\.([012])\.conv\.", r"fpn.output.\1."),
    (r"^neck\.fpn_convs\.3\.conv\.", "fpn.p6."),
    (r"^neck\.fpn_convs\.4\.conv\.", "fpn.p7."),
    (r"^bbox_head\.cls_convs\.", "head.cls_tower."),
    (r"^bbox_head\.reg_convs\.", "head.box_tower."),
    (r"^(head\.\w+_tower\.\d+)\.gn\.", r"\1.norm."),
    (r"^bbox_head\.atss_cls\.", "head.cls_logits."),
    (r"^bbox_head\.atss_reg\.", "head.deltas."),
    (r"^bbox_head\.atss_centerness\.", "head.iou_logits."),
)


def recognises(state: Mapping[str, object]) -> bool:
    """Say whether these are MMDetection's names."""
    return "bbox_head.atss_cls.weight" in state


def rename(name: str) -> str:
    """Return this project's name for one of MMDetection's."""
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def read(state: Mapping[str, Tensor], classes: Sequence[str] | None = None) -> Weights:
    """Turn MMDetection's tensors into ours; classes: the names from the file's `meta`, if it has any."""
    tensors = {
        rename(name): tensor
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked") and not name.startswith("bbox_head.scales.")
    }
    tensors["head.scales"] = torch.stack([state[f"bbox_head.scales.{i}.scale"].reshape(()) for i in range(5)])
    for name in [n for n in tensors if re.search(r"_tower\.\d+\.conv\.weight$", n)]:
        # its towers' convolutions have no bias
        tensors.setdefault(name.replace("weight", "bias"), torch.zeros(len(tensors[name])))
    depth = {6: "resnet50", 23: "resnet101"}[len({n for n in state if re.match(r"backbone\.layer3\.\d+\.conv1", n)})]
    config = ModelConfig(
        backbone=depth,
        norm="frozen",
        norm_eps=1e-5,
        p7_relu=False,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        anchor_offset=0.0,
        threshold_joint=True,
    )
    names = tuple(classes) if classes else None
    return Weights(config, names, len(state["bbox_head.atss_cls.weight"]), tensors, "MMDetection")
