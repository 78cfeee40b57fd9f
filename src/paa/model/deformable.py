"""Deformable convolution: every output learns where to sample its nine inputs (DCNv2, Zhu et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.ops import DeformConv2d


class DeformableConv(nn.Module):
    """Modulated deformable 3x3 convolution by torchvision's operator; at first a plain convolution of half the weights.

    The convolution `offset`, zero at first, predicts 27 channels: nine (dy, dx) pairs, then nine mask logits.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, groups: int = 1, bias: bool) -> None:
        super().__init__()
        self.offset = nn.Conv2d(in_channels, 27, 3, stride=stride, padding=1)
        self.conv = DeformConv2d(in_channels, out_channels, 3, stride=stride, padding=1, groups=groups, bias=bias)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Convolve: (B, C, H, W) -> (B, C', H', W')."""
        # in bfloat16 the offsets would lose their fractions, and the operator takes one type for all its inputs
        with torch.autocast(x.device.type, enabled=False):
            precise = x.to(self.conv.weight.dtype)
            offset = self.offset(precise)
            y: Tensor = self.conv(precise, offset[:, :18], offset[:, 18:].sigmoid())
        return y.to(x.dtype)
