from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from paa.model.deformable import DeformableConv


def draw(channels: int, height: int = 9, width: int = 11) -> torch.Tensor:
    return torch.randn(2, channels, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("stride", "groups", "bias"), [(1, 1, True), (2, 1, False), (1, 2, True)])
def test_starts_as_a_plain_convolution_at_half_strength(stride: int, groups: int, bias: bool) -> None:
    torch.manual_seed(0)
    layer, x = DeformableConv(6, 8, stride=stride, groups=groups, bias=bias), draw(6)
    plain = F.conv2d(x, layer.conv.weight / 2, layer.conv.bias, stride, 1, 1, groups)
    assert (layer.conv.bias is not None) == bias
    torch.testing.assert_close(layer(x), plain, rtol=1e-4, atol=1e-5)


def test_offsets_are_dy_dx_pairs_and_then_the_masks() -> None:
    layer, x = DeformableConv(3, 4, bias=False), draw(3)
    offset = torch.zeros(27)
    offset[0:18:2] = 1.0  # dy: every tap looks one row further down
    offset[18:] = 50.0  # and counts wholly
    with torch.no_grad():
        layer.offset.bias.copy_(offset)
    plain = F.conv2d(x, layer.conv.weight, padding=1)
    torch.testing.assert_close(layer(x)[:, :, :-2, :], plain[:, :, 1:-1, :], rtol=1e-4, atol=1e-5)
    offset[0:18:2], offset[1:18:2] = 0.0, 2.0  # dx: two columns to the right
    with torch.no_grad():
        layer.offset.bias.copy_(offset)
    torch.testing.assert_close(layer(x)[:, :, :, :-3], plain[:, :, :, 2:-1], rtol=1e-4, atol=1e-5)
    offset[18 + 4] = -50.0  # the middle tap is off
    with torch.no_grad():
        layer.offset.bias.copy_(offset)
    hole = layer.conv.weight.detach().clone()
    hole[:, :, 1, 1] = 0
    expected = F.conv2d(x, hole, padding=1)
    torch.testing.assert_close(layer(x)[:, :, :, :-3], expected[:, :, :, 2:-1], rtol=1e-4, atol=1e-5)


def test_masks_are_sigmoids() -> None:
    layer, x = DeformableConv(3, 4, bias=False), draw(3)
    taps = torch.linspace(0.1, 0.9, 9)
    with torch.no_grad():
        layer.offset.bias[18:] = torch.logit(taps)
    expected = F.conv2d(x, layer.conv.weight * taps.view(3, 3), padding=1)
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


def test_everything_learns() -> None:
    torch.manual_seed(0)
    layer, x = DeformableConv(4, 4, bias=True), draw(4).requires_grad_()
    nn.init.normal_(layer.offset.weight, std=0.1)
    layer(x).square().sum().backward()
    for tensor in (x, *layer.parameters()):
        assert torch.isfinite(tensor.grad).all()
        assert tensor.grad.abs().sum() > 0


def test_under_autocast() -> None:
    torch.manual_seed(0)
    layer, x = DeformableConv(4, 4, bias=True), draw(4)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x.bfloat16())
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), layer(x), rtol=0.05, atol=0.05)
