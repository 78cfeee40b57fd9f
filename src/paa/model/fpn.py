"""The feature pyramid (Lin et al. 2017), with P6 and P7 as in RetinaNet's P5 variant."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FeaturePyramid(nn.Module):
    """P3 to P7, all of the same width, from c3, c4 and c5; or P2 to P7, from c2 on."""

    def __init__(self, in_channels: tuple[int, ...], channels: int, p7_relu: bool) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in in_channels)
        self.output = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in in_channels)
        self.p6 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.p7_relu = p7_relu
        for conv in self.modules():
            if isinstance(conv, nn.Conv2d):
                nn.init.kaiming_uniform_(conv.weight, a=1)
                nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, features: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return P3..P7 of strides 8..128 from features of strides 8, 16, 32; or P2..P7 from those of 4, 8, 16, 32."""
        inner = [lateral(x) for lateral, x in zip(self.lateral, features)]
        for low in reversed(range(len(inner) - 1)):
            inner[low] = inner[low] + F.interpolate(inner[low + 1], size=inner[low].shape[-2:], mode="nearest")
        pyramid = [output(x) for output, x in zip(self.output, inner)]
        # On CPUs with AMX, torch 2.15's strided bfloat16 convolutions read uninitialised memory on maps of one or two
        # columns; in float32 these two layers cost nothing.
        with torch.autocast(pyramid[-1].device.type, enabled=False):
            p6 = self.p6(pyramid[-1].to(self.p6.weight.dtype))
            p7 = self.p7(F.relu(p6) if self.p7_relu else p6)
        return (*pyramid, p6, p7)
