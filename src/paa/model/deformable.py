"""A 3x3 convolution that looks where it likes: DCNv2 (Zhu et al. 2019), from torchvision's operator."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.ops import DeformConv2d


class DeformableConv(nn.Module):
    """Modulated deformable convolution with a 3x3 kernel; starts as a plain one at half strength.

    A plain convolution `offset` predicts 27 channels: nine (dy, dx) pairs, then nine mask logits.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int = 1, dilation: int = 1, groups: int = 1, bias: bool
    ) -> None:
        super().__init__()
        self.offset = nn.Conv2d(in_channels, 27, 3, stride=stride, padding=dilation, dilation=dilation)
        self.conv = DeformConv2d(
            in_channels, out_channels, 3, stride=stride, padding=dilation, dilation=dilation, groups=groups, bias=bias
        )
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Convolve: (B, C, H, W) -> (B, C', H', W')."""
        offset = self.offset(x)
        # the operator takes one type only, which autocast does not see to
        weight_type = self.conv.weight.dtype
        with torch.autocast(x.device.type, enabled=False):
            y: Tensor = self.conv(
                x.to(weight_type), offset[:, :18].to(weight_type), offset[:, 18:].to(weight_type).sigmoid()
            )
        return y.to(x.dtype)
