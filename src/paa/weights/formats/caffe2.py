"""ImageNet backbones of Caffe2 and Detectron (`R-50.pkl`, `X-101-64x4d.pkl`, ...): arrays under Caffe2's blob names.

Their batch norm is a scale and a shift per channel, so its mean is 0, its variance 1 and its epsilon 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from paa.config import CAFFE_MEAN
from paa.model.backbone import RESNETS
from paa.weights.formats.resnets import name_resnet
from paa.weights.state import BackboneWeights, Checkpoint

_BRANCHES = {"branch2a": "conv1", "branch2b": "conv2", "branch2c": "conv3", "branch1": "downsample.0"}
_NORMS = {"branch2a": "bn1", "branch2b": "bn2", "branch2c": "bn3", "branch1": "downsample.1"}
_DROPPED = re.compile(r"(fc1000|pred)_[wb]$|.*_momentum$|weight_order$|lr$")


def recognises(file: Checkpoint) -> bool:
    """Return whether a file has Caffe2's blobs, at the top or under `blobs`."""
    blobs = file.values.get("blobs", file.values)
    return isinstance(blobs, Mapping) and "conv1_w" in blobs and "res2_0_branch2a_w" in blobs


def rename(blob: str) -> str | None:
    """Return this project's name of a Caffe2 blob; None if no backbone has that blob, its own name if unknown."""
    if _DROPPED.match(blob):
        return None
    if blob == "conv1_w":
        return "conv1.weight"
    if m := re.fullmatch(r"res_conv1_bn_([sb])", blob):
        return f"bn1.{_norm_part(m[1])}"
    if m := re.fullmatch(r"res([2-5])_(\d+)_(branch2[abc]|branch1)_w", blob):
        return f"layer{int(m[1]) - 1}.{m[2]}.{_BRANCHES[m[3]]}.weight"
    if m := re.fullmatch(r"res([2-5])_(\d+)_(branch2[abc]|branch1)_bn_([sb])", blob):
        return f"layer{int(m[1]) - 1}.{m[2]}.{_NORMS[m[3]]}.{_norm_part(m[4])}"
    return blob


def read(file: Checkpoint) -> BackboneWeights:
    """Return a backbone, with the blobs under this project's names.

    MSRA's ResNets have strides in a block's first 1x1 convolution, the ResNeXts in the 3x3 (as in the official code).
    """
    blobs: Mapping[str, Tensor] = file.values.get("blobs", file.values)
    tensors: dict[str, Tensor] = {}
    dropped = []
    for blob, tensor in blobs.items():
        name = rename(blob)
        if name is None:
            dropped.append(blob)
            continue
        tensors[name] = tensor
        if blob.endswith("_bn_s"):
            tensors[name.replace("weight", "running_mean")] = torch.zeros_like(tensor)
            tensors[name.replace("weight", "running_var")] = torch.ones_like(tensor)
    backbone = name_resnet(tensors)
    fields = {
        "backbone": backbone,
        "norm_eps": 0.0,
        "stride_in_1x1": RESNETS[backbone].groups == 1,
        "mean": CAFFE_MEAN,
        "std": (1.0, 1.0, 1.0),
        "bgr": True,
    }
    return BackboneWeights(fields, tensors, tuple(dropped), file.source)


def _norm_part(suffix: str) -> str:
    return {"s": "weight", "b": "bias"}[suffix]
