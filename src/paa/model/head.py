"""The head that all levels share: two towers, and at every cell class logits, four box deltas and one IoU logit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paa.core.outputs import HeadOutputs
from paa.errors import ConfigError
from paa.model.cpu.winograd import one_pass
from paa.model.deformable import DeformableConv
from paa.model.hooks import is_hooked


class TowerLayer(nn.Module):
    """3x3 convolution, GroupNorm with 8 channels in each group (32 groups of 256 channels), ReLU."""

    def __init__(self, channels: int, deformable: bool) -> None:
        super().__init__()
        self.conv: nn.Module
        if deformable:
            self.conv = DeformableConv(channels, channels, bias=True)
        else:
            self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.GroupNorm(channels // 8, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        y: Tensor = self.norm(self.conv(x))
        return F.relu(y) if is_hooked(self.norm) else F.relu_(y)


class Head(nn.Module):
    """Class logits, box deltas and IoU logits of the one anchor of each cell, from the features of all levels."""

    def __init__(self, channels: int, num_classes: int, depth: int, dcn: bool, num_levels: int = 5) -> None:
        super().__init__()
        if channels < 8 or channels % 8:
            raise ConfigError(f"channels must be a multiple of 8 (the group norm's groups), not {channels}")
        layers = [dcn and i == depth - 1 for i in range(depth)]
        self.cls_tower = nn.Sequential(*(TowerLayer(channels, deformable) for deformable in layers))
        self.box_tower = nn.Sequential(*(TowerLayer(channels, deformable) for deformable in layers))
        self.cls_logits = nn.Conv2d(channels, num_classes, 3, padding=1)
        self.deltas = nn.Conv2d(channels, 4, 3, padding=1)
        self.iou_logits = nn.Conv2d(channels, 1, 3, padding=1)
        self.scales = nn.Parameter(torch.ones(num_levels))
        for name, parameter in self.named_parameters():
            if name.endswith("weight") and parameter.dim() == 4 and ".offset." not in name:
                nn.init.normal_(parameter, std=0.01)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
        self.start_classes_at(0.01)

    def start_classes_at(self, probability: float) -> None:
        """Let every class of every anchor have this probability at the start (Lin et al. 2017, focal loss, §3.3)."""
        nn.init.constant_(self.cls_logits.bias, math.log(probability / (1 - probability)))  # type: ignore[arg-type]

    def forward(self, pyramid: Sequence[Tensor]) -> HeadOutputs:
        """Return the outputs at all anchors, levels in order, each row by row; pyramid: (B, C, h, w) each."""
        if torch.compiler.is_compiling() or torch.is_grad_enabled():  # in training, memory matters more than time
            return self._outputs(pyramid)
        with one_pass():
            return self._outputs(pyramid)

    def _outputs(self, pyramid: Sequence[Tensor]) -> HeadOutputs:
        cls_logits, deltas, iou_logits = [], [], []
        for feature, scale in zip(pyramid, self.scales):
            box_feature = self.box_tower(feature)
            cls_logits.append(_per_anchor(self.cls_logits(self.cls_tower(feature))))
            # in bfloat16 a delta of 10 has steps of 1/16, which are pixels on the coarse levels
            with torch.autocast(feature.device.type, enabled=False):
                box_feature = box_feature.to(self.scales.dtype)
                deltas.append(_per_anchor(self.deltas(box_feature) * scale))
                iou_logits.append(_per_anchor(self.iou_logits(box_feature)))
        return HeadOutputs(
            torch.cat(cls_logits, 1),
            torch.cat(deltas, 1),
            torch.cat(iou_logits, 1).squeeze(2),
            tuple((feature.shape[2], feature.shape[3]) for feature in pyramid),
        )


def _per_anchor(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h x w, C)."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)
