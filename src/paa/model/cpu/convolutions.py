"""Use the faster CPU convolutions in a model: names and parameters stay, results differ by rounding only."""

from __future__ import annotations

from torch import nn

from paa.model.cpu.strided import StridedConv2d
from paa.model.cpu.winograd import WinogradConv2d


def use_fast_convolutions(module: nn.Module) -> None:
    """Replace the 3x3 convolutions inside a module by `WinogradConv2d` (stride 1) and `StridedConv2d` (stride 2)."""
    for name, child in module.named_children():
        kind = _kind(child) if isinstance(child, nn.Conv2d) else None
        if isinstance(child, nn.Conv2d) and kind is not None:
            setattr(module, name, with_parameters_of(child, kind))
        else:
            use_fast_convolutions(child)


def _kind(conv: nn.Conv2d) -> type[nn.Conv2d] | None:
    shape = (conv.kernel_size, conv.padding, conv.dilation, conv.groups, conv.padding_mode)
    if type(conv) is not nn.Conv2d or shape != ((3, 3), (1, 1), (1, 1), 1, "zeros"):
        return None
    return WinogradConv2d if conv.stride == (1, 1) else StridedConv2d if conv.stride == (2, 2) else None


def with_parameters_of(conv: nn.Conv2d, kind: type[nn.Conv2d]) -> nn.Conv2d:
    """Return a convolution of another kind with the same parameters."""
    fast = kind(
        conv.in_channels,
        conv.out_channels,
        3,
        stride=conv.stride[0],
        padding=1,
        bias=conv.bias is not None,
        device="meta",
    )
    fast.weight, fast.bias = conv.weight, conv.bias
    return fast.train(conv.training)


def keep_kernels(module: nn.Module) -> None:
    """Let Winograd's convolutions in a module keep their transformed kernels; no weight may change afterwards."""
    for child in module.modules():
        if isinstance(child, WinogradConv2d):
            child.constant = True
