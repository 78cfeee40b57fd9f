"""Checkpoints of MMDetection's PAA, 2.x and 3.x: `state_dict` and `meta`, batch norm in evaluation mode."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from paa.config import IMAGENET_MEAN, IMAGENET_STD, ModelConfig
from paa.errors import ConfigError
from paa.weights.formats.mmdet_config import config_fields
from paa.weights.formats.resnets import deformable_stages, name_resnet
from paa.weights.state import COUNTER, Checkpoint, Weights

_RENAMES = (
    (r"^neck\.lateral_convs\.(\d)\.conv\.", r"fpn.lateral.\1."),
    (r"^neck\.fpn_convs\.([012])\.conv\.", r"fpn.output.\1."),
    (r"^neck\.fpn_convs\.3\.conv\.", "fpn.p6."),
    (r"^neck\.fpn_convs\.4\.conv\.", "fpn.p7."),
    (r"^(backbone\.layer\d\.\d+\.conv2)\.conv_offset\.", r"\1.offset."),
    (r"^bbox_head\.cls_convs\.", "head.cls_tower."),
    (r"^bbox_head\.reg_convs\.", "head.box_tower."),
    (r"^(head\.\w+_tower\.\d+)\.gn\.", r"\1.norm."),
    (r"^bbox_head\.atss_cls\.", "head.cls_logits."),
    (r"^bbox_head\.atss_reg\.", "head.deltas."),
    (r"^bbox_head\.atss_centerness\.", "head.iou_logits."),
)


def recognises(file: Checkpoint) -> bool:
    """Return whether a file has the names of MMDetection's PAA or ATSS."""
    return "bbox_head.atss_cls.weight" in file.state


def rename(name: str) -> str:
    """Return this project's name of one of MMDetection's tensors."""
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def read(file: Checkpoint) -> Weights:
    """Return the tensors under our names; class names, input, anchors' size and style come from the file's `meta`.

    ConfigError for an ATSS model, whose tensors have the same names, but which predicts centerness, not the IoU.
    """
    state, meta = file.state, file.values.get("meta")
    if re.search(r"['\"]ATSSHead['\"]", _config_text(meta)) and not re.search(r"['\"]PAAHead['\"]", _config_text(meta)):
        raise ConfigError(
            "is an ATSS model by its configuration, and ATSS predicts centerness where PAA predicts the IoU"
        )
    tensors = {
        rename(name): tensor
        for name, tensor in state.items()
        if not name.endswith(COUNTER) and not name.startswith("bbox_head.scales.")
    }
    tensors["head.scales"] = torch.stack([state[f"bbox_head.scales.{i}.scale"].reshape(()) for i in range(5)])
    for stage in deformable_stages(
        tensors, "backbone."
    ):  # MMDetection's deformable convolution is one module, ours are two
        for name in [n for n in tensors if re.match(rf"backbone\.layer{stage - 1}\.\d+\.conv2\.weight$", n)]:
            tensors[name.replace("conv2.", "conv2.conv.")] = tensors.pop(name)
    for name in [n for n in tensors if re.search(r"_tower\.\d+\.conv\.weight$", n)]:
        # MMDetection's towers have no bias
        tensors.setdefault(name.replace("weight", "bias"), torch.zeros(len(tensors[name])))
    config = ModelConfig(
        backbone=name_resnet(tensors, "backbone."),
        norm="frozen",
        norm_eps=1e-5,
        dcn_stages=deformable_stages(tensors, "backbone."),
        p7_relu=False,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        anchor_offset=0.0,
        threshold_joint=True,
    )
    config = replace(config, **{**_caffe_style(meta), **config_fields(_config_text(meta))})
    classes = len(state["bbox_head.atss_cls.weight"])
    return Weights(config, _class_names(meta, classes), classes, tensors, {"format": "MMDetection"})


def _caffe_style(meta: Any) -> dict[str, Any]:
    """Return the fields of `ModelConfig` that differ if the configuration in the file names Caffe's style."""
    if not re.search(r"style\s*=\s*['\"]caffe['\"]", _config_text(meta)):
        return {}
    return {"stride_in_1x1": True, "mean": IMAGENET_MEAN, "std": (1.0, 1.0, 1.0), "bgr": True}


def _config_text(meta: Any) -> str:
    """Return the configuration, which 2.x and 3.x keep in `meta` as text; "" if missing."""
    if not isinstance(meta, Mapping):
        return ""
    return next((meta[key] for key in ("config", "cfg") if isinstance(meta.get(key), str)), "")


def _class_names(meta: Any, classes: int) -> tuple[str, ...] | None:
    """Return the names that 2.x keeps in `CLASSES` and 3.x in `dataset_meta`, if there is one for each class."""
    if not isinstance(meta, Mapping):
        return None
    in_3x = meta.get("dataset_meta")
    names = meta.get("CLASSES") or (in_3x.get("classes") if isinstance(in_3x, Mapping) else None)
    if isinstance(names, (list, tuple)) and len(names) == classes and all(isinstance(name, str) for name in names):
        return tuple(names)
    return None
