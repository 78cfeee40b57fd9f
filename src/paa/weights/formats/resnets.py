"""Recognise the ResNet or ResNeXt that tensors belong to, by their names and shapes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor
from torchvision.models.resnet import BasicBlock, Bottleneck

from paa.errors import ConfigError
from paa.model.backbone import RESNETS, ResNetShape


def name_resnet(tensors: Mapping[str, Tensor], prefix: str = "") -> str:
    """Return the name, in `RESNETS`, of the backbone that these tensors belong to.

    tensors: under torchvision's names after `prefix`. ConfigError if the backbone is none of `RESNETS`.
    """
    blocks = [
        len({m[1] for name in tensors if (m := re.match(rf"{re.escape(prefix)}layer{stage}\.(\d+)\.conv1\.", name))})
        for stage in (1, 2, 3, 4)
    ]
    kind = Bottleneck if f"{prefix}layer1.0.conv3.weight" in tensors else BasicBlock
    first, second = (tensors.get(f"{prefix}layer1.0.conv{n}.weight") for n in (1, 2))
    if first is None or second is None or first.dim() != 4 or second.dim() != 4:
        raise ConfigError("holds no ResNet: layer1.0.conv1 and conv2 are missing or not convolutions")
    width, per_group = len(first), second.shape[1]
    groups = width // per_group if per_group and width % per_group == 0 else 0
    found = ResNetShape(kind, (blocks[0], blocks[1], blocks[2], blocks[3]), groups, per_group)
    for name, shape in RESNETS.items():
        if shape == found:
            return name
    form = f" of {groups} groups x {per_group}" if groups != 1 else ""
    raise ConfigError(f"holds a ResNet of {'-'.join(map(str, blocks))} blocks{form}, none of {', '.join(RESNETS)}")


def deformable_stages(names: Iterable[str], prefix: str = "") -> tuple[int, ...]:
    """Return the stages (3 for c3, ...) whose blocks have offsets: those with deformable convolutions."""
    found = {m[1] for name in names if (m := re.match(rf"{re.escape(prefix)}layer(\d)\.\d+\.conv2\.offset\.", name))}
    return tuple(sorted(int(layer) + 1 for layer in found))
