"""Checkpoints of the seed (PAA_minimal): a plain state dict; the configuration follows from the tensors' shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from paa.config import CAFFE_MEAN, ModelConfig
from paa.model.backbone import RESNETS
from paa.weights.formats.resnets import deformable_stages, name_resnet
from paa.weights.state import Checkpoint, Weights

_RENAMES = (
    (r"^backbone\.body\.stem\.", "backbone."),
    (r"^backbone\.body\.", "backbone."),
    (r"^backbone\.fpn\.fpn_inner(\d)\.", lambda m: f"fpn.lateral.{int(m[1]) - 2}."),
    (r"^backbone\.fpn\.fpn_layer(\d)\.", lambda m: f"fpn.output.{int(m[1]) - 2}."),
    (r"^backbone\.fpn\.top_blocks\.", "fpn."),
    (r"^head\.bbox_tower\.", "head.box_tower."),
    (r"^(head\.\w+_tower)\.(\d+)\.", lambda m: f"{m[1]}.{int(m[2]) // 3}.{('conv', 'norm')[int(m[2]) % 3]}."),
    (r"^head\.bbox_pred\.", "head.deltas."),
    (r"^head\.iou_pred\.", "head.iou_logits."),
)


def recognises(file: Checkpoint) -> bool:
    """Return whether a file has the seed's names."""
    return "backbone.body.stem.conv1.weight" in file.state and "head.cls_logits.weight" in file.state


def rename(name: str) -> str:
    """Return this project's name of one of the seed's tensors."""
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def read(file: Checkpoint) -> Weights:
    """Return the tensors under our names, and the configuration of their model."""
    return legacy_weights(file.state, "seed (PAA_minimal)")


def legacy_weights(state: Mapping[str, Tensor], format: str) -> Weights:
    """Return what `read` does, from tensors under the seed's names; format: for the provenance.

    All of these models are legacy ones (`ModelConfig.legacy`). ResNets have strides in a block's first 1x1 convolution
    (MSRA's weights), ResNeXts in the 3x3.
    """
    tensors = {rename(name): tensor for name, tensor in state.items() if not name.startswith("head.scales.")}
    scales = [state[f"head.scales.{level}.scale"] for level in range(5)]
    tensors["head.scales"] = torch.cat([s.reshape(1) for s in scales])
    backbone = name_resnet(tensors, "backbone.")
    config = ModelConfig(
        backbone=backbone,
        norm="frozen",
        norm_eps=0.0,
        stride_in_1x1=RESNETS[backbone].groups == 1,
        dcn_stages=deformable_stages(tensors, "backbone."),
        tower_dcn=any(".offset." in name and name.startswith("head.") for name in state),
        mean=CAFFE_MEAN,
        std=(1.0, 1.0, 1.0),
        bgr=True,
        legacy=True,
    )
    return Weights(config, None, len(state["head.cls_logits.weight"]), tensors, {"format": format})
