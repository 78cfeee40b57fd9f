"""TensorFlow's "same" padding in timm's convolutions, which depends on the image's size, made constant."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class EvenSameConv2d(nn.Conv2d):
    """A convolution of "same" padding for maps whose sides are multiples of its stride, 1 or 2."""

    def forward(self, input: Tensor) -> Tensor:
        """Return maps (B, C, H / stride, W / stride) of maps (B, C, H, W)."""
        extents = [d * (k - 1) + 1 for k, d in zip(self.kernel_size, self.dilation)]
        high, wide = (max(extent - s, 0) for extent, s in zip(extents, self.stride))
        # the odd pixel at the right and at the bottom, as in TensorFlow
        padded = F.pad(input, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
        return F.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def fix_padding(module: nn.Module) -> None:
    """Replace the `Conv2dSame` inside a timm model, in place, by convolutions of constant padding.

    Names, parameters and results stay where the images' sides are multiples of 32 and no feature has a stride above
    32: the maps before each convolution of stride 2 have even sides then. timm's own carry their padding along as an
    expression of the image's size, each that of the one before, over which torch.export and torch.compile take hours.
    """
    from timm.layers.conv2d_same import Conv2dSame

    for name, child in module.named_children():
        if type(child) is Conv2dSame and child.stride in ((1, 1), (2, 2)):
            setattr(module, name, _constant(child))
        else:
            fix_padding(child)


def _constant(conv: nn.Conv2d) -> EvenSameConv2d:
    constant = EvenSameConv2d(
        conv.in_channels,
        conv.out_channels,
        (conv.kernel_size[0], conv.kernel_size[1]),
        stride=(conv.stride[0], conv.stride[1]),
        dilation=(conv.dilation[0], conv.dilation[1]),
        groups=conv.groups,
        bias=conv.bias is not None,
        device="meta",
    )
    constant.weight, constant.bias = conv.weight, conv.bias
    return constant.train(conv.training)
