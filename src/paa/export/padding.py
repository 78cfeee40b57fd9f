"""Padding that depends on the image's size, as TensorFlow's "same", made constant for an exported graph."""

from __future__ import annotations

import sys

from torch import nn

from paa.model.detector import Detector


def fix_padding(detector: Detector) -> None:
    """Replace timm's convolutions of "same" padding, in place, by ones of constant padding.

    These equal the originals for images whose sides are multiples of 32, as all batches' are: the maps before each
    convolution of stride 2 have even sides then. torch.export takes hours over timm's own, whose padding it carries
    along as an expression of the image's size.
    """
    if "timm" in sys.modules:  # otherwise nothing of timm's can be in the detector
        from timm.layers.conv2d_same import Conv2dSame

        _replace(detector, Conv2dSame)


def _replace(module: nn.Module, same: type[nn.Conv2d]) -> None:
    for name, child in module.named_children():
        if isinstance(child, same) and child.stride in ((1, 1), (2, 2)):
            setattr(module, name, _constant(child))
        else:
            _replace(child, same)


def _constant(conv: nn.Conv2d) -> nn.Sequential:
    """Return the convolution for maps whose sides are multiples of its stride."""
    sides = [(k - 1) * d + 1 - s for k, d, s in zip(conv.kernel_size, conv.dilation, conv.stride)]
    height, width = (max(side, 0) for side in sides)
    plain = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        (conv.kernel_size[0], conv.kernel_size[1]),
        stride=(conv.stride[0], conv.stride[1]),
        dilation=(conv.dilation[0], conv.dilation[1]),
        groups=conv.groups,
        bias=conv.bias is not None,
    )
    plain.weight, plain.bias = conv.weight, conv.bias
    # the odd pixel at the right and at the bottom, as in TensorFlow
    return nn.Sequential(nn.ZeroPad2d((width // 2, width - width // 2, height // 2, height - height // 2)), plain)
