"""The gradient of strided convolutions against autograd's in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from paa.model.cpu import strided
from paa.model.cpu.convolutions import with_parameters_of
from paa.model.cpu.strided import StridedConv2d


@pytest.mark.parametrize("positions", [1, 30, 2048])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("images", "height", "width"), [(1, 16, 24), (2, 17, 9), (3, 1, 2)])
def test_gradients(
    images: int,
    height: int,
    width: int,
    layout: torch.memory_format,
    positions: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(strided, "_POSITIONS", positions)
    torch.manual_seed(0)
    conv = nn.Conv2d(5, 7, 3, stride=2, padding=1)
    ours, exact = with_parameters_of(conv, StridedConv2d), copy.deepcopy(conv).double()
    x = torch.randn(images, 5, height, width).to(memory_format=layout).requires_grad_()
    y = ours(x)
    assert "_Convolution" in type(y.grad_fn).__name__, "torch's own gradient was used"
    assert torch.equal(y, conv(x))
    gradient = torch.randn(y.shape)
    x64 = x.detach().double().requires_grad_()
    got = torch.autograd.grad(y, [x, *ours.parameters()], gradient)
    expected = torch.autograd.grad(exact(x64), [x64, *exact.parameters()], gradient.double())
    for mine, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("output", ["sum", "squares"])
def test_second_derivatives(output: str) -> None:
    """Also where the gradient that comes in is constant, as that of a plain sum."""
    conv = nn.Conv2d(4, 4, 3, stride=2, padding=1)
    ours, x = with_parameters_of(conv, StridedConv2d), torch.randn(1, 4, 8, 8)
    for mine, theirs in zip(second_derivatives(ours, x, output), second_derivatives(conv, x, output), strict=True):
        torch.testing.assert_close(mine, theirs)


def second_derivatives(conv: nn.Conv2d, x: Tensor, output: str) -> tuple[Tensor, ...]:
    """Return the gradients of a gradient penalty, by the input and the kernels."""
    x = x.clone().requires_grad_()
    y = conv(x)
    total = y.sum() if output == "sum" else y.square().sum()
    first = torch.autograd.grad(total, [x, conv.weight], create_graph=True)
    return torch.autograd.grad(sum(one.square().sum() for one in first), [x, conv.weight])


def test_nothing_is_special_without_a_gradient_of_the_kernels() -> None:
    conv = nn.Conv2d(4, 4, 3, stride=2, padding=1)
    ours = with_parameters_of(conv, StridedConv2d)
    x = torch.randn(1, 4, 8, 8, requires_grad=True)
    with torch.no_grad():
        assert torch.equal(ours(x), conv(x))
    ours.requires_grad_(False)
    assert "_Convolution" not in type(ours(x).grad_fn).__name__
