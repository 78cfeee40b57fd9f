"""Winograd's convolutions against direct ones in float64, forward and backward."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from paa.model.cpu import winograd
from paa.model.cpu.convolutions import keep_kernels, with_parameters_of
from paa.model.cpu.winograd import WinogradConv2d, transform_kernel
from tests.model.cpu.test_strided import second_derivatives

SHAPES = [(2, 96, 128, 30, 41), (1, 128, 96, 28, 44), (3, 96, 96, 16, 17), (1, 96, 100, 25, 42)]


def relative(a: Tensor, b: Tensor) -> float:
    return float(((a - b).abs().max() / b.abs().max()).detach())


def winograd_of(conv: nn.Conv2d) -> nn.Conv2d:
    return with_parameters_of(conv, WinogradConv2d)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("images", "channels", "outputs", "height", "width"), SHAPES)
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_and_gradients(
    images: int, channels: int, outputs: int, height: int, width: int, bias: bool, layout: torch.memory_format
) -> None:
    conv = nn.Conv2d(channels, outputs, 3, padding=1, bias=bias)
    ours, exact = winograd_of(conv), copy.deepcopy(conv).double()
    x = torch.randn(images, channels, height, width).to(memory_format=layout).requires_grad_()
    x64 = x.detach().double().requires_grad_()
    y, y64 = ours(x), exact(x64)
    assert y.grad_fn is not None
    assert "_Convolution" in type(y.grad_fn).__name__, "the direct convolution was used"
    assert y.shape == y64.shape
    assert relative(y, y64) < 5e-5
    gradient = torch.randn(y.shape)
    got = torch.autograd.grad(y, [x, *ours.parameters()], gradient)
    expected = torch.autograd.grad(y64, [x64, *exact.parameters()], gradient.double())
    for ours_, theirs in zip(got, expected, strict=True):
        assert ours_.shape == theirs.shape
        assert relative(ours_, theirs) < 5e-5


def test_exact_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """The maps themselves are right to the last digits; what is lost in float32 is rounding."""
    for name in ("_INPUT_2D", "_KERNEL_2D", "_OUTPUT_2D"):
        sides = {"_INPUT_2D": winograd._INPUT, "_KERNEL_2D": winograd._KERNEL * 24, "_OUTPUT_2D": winograd._OUTPUT}
        matrix = torch.kron(sides[name].double(), sides[name].double())
        monkeypatch.setattr(winograd, name, matrix / 24**2 if name == "_KERNEL_2D" else matrix)
    x, weight = torch.randn(1, 8, 13, 10).double(), torch.randn(5, 8, 3, 3).double()
    ours = winograd._convolve(x, transform_kernel(weight), None)
    assert relative(ours, nn.functional.conv2d(x, weight, padding=1)) < 1e-13


def test_outputs_may_be_changed_in_place() -> None:
    conv = nn.Conv2d(96, 96, 3, padding=1)
    x = torch.randn(1, 96, 30, 30, requires_grad=True)
    gradients = [torch.autograd.grad(f(x).relu_().square().sum(), x)[0] for f in (conv, winograd_of(conv))]
    assert relative(gradients[1], gradients[0]) < 1e-4


@pytest.mark.parametrize("block", [1, 1 << 12, 1 << 30])
def test_results_do_not_depend_on_how_many_tiles_are_processed_at_once(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, weight = torch.randn(2, 96, 20, 33), torch.randn(96, 96, 3, 3)
    expected = nn.functional.conv2d(x.double(), weight.double(), padding=1)
    monkeypatch.setattr(winograd, "_BLOCK", block)
    assert relative(winograd._convolve(x, transform_kernel(weight), None), expected) < 5e-5


def changed_by(optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.randn_like(parameter)
    optimizer.step()


CHANGES = {
    "in place": lambda conv: conv.weight.mul_(2),
    "copied": lambda conv: conv.weight.copy_(torch.randn_like(conv.weight)),
    "data": lambda conv: conv.weight.data.mul_(-1),
    "data, assigned": lambda conv: setattr(conv.weight, "data", torch.randn_like(conv.weight)),
    "foreach on a view": lambda conv: torch._foreach_mul_([conv.weight.view(-1)], 3.0),
    "numpy": lambda conv: np.negative(conv.weight.detach().numpy(), out=conv.weight.detach().numpy()),
    "load_state_dict": lambda conv: conv.load_state_dict(
        {"weight": torch.ones_like(conv.weight), "bias": torch.zeros_like(conv.bias)}
    ),
    "SGD": lambda conv: changed_by(torch.optim.SGD(conv.parameters(), 0.5)),
    "fused SGD": lambda conv: changed_by(torch.optim.SGD(conv.parameters(), 0.5, fused=True)),
    "fused AdamW": lambda conv: changed_by(torch.optim.AdamW(conv.parameters(), 0.5, fused=True)),
}


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("change", CHANGES)
def test_weights_that_change_are_seen(change: str, trained: bool) -> None:
    conv = winograd_of(nn.Conv2d(96, 96, 3, padding=1)).requires_grad_(trained).eval()
    x = torch.randn(1, 96, 32, 32)
    with torch.no_grad():
        for _ in range(2):
            before = conv(x)
            CHANGES[change](conv)
            after = conv(x)
            assert relative(after, nn.functional.conv2d(x, conv.weight, conv.bias, padding=1)) < 5e-5
            assert change == "load_state_dict" or relative(after, before) > 1e-3
        assert relative(copy.deepcopy(conv)(x), after) == 0


def test_constant_weights_are_transformed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    conv = winograd_of(nn.Conv2d(96, 96, 3, padding=1))
    count: list[int] = []
    monkeypatch.setattr(winograd, "transform_kernel", lambda weight: count.append(1) or transform_kernel(weight))
    x = torch.randn(1, 96, 32, 32)
    with torch.no_grad():
        first, again = conv(x), conv(x)
        assert len(count) == 2
        keep_kernels(conv)
        assert all(torch.equal(result, first) for result in (again, conv(x), conv(x)))
    assert len(count) == 3
    conv.load_state_dict({"weight": torch.ones_like(conv.weight), "bias": torch.zeros_like(conv.bias)})
    with torch.no_grad():
        assert relative(conv(x), nn.functional.conv2d(x, torch.ones(96, 96, 3, 3), padding=1)) < 5e-5


def test_in_one_pass_kernels_are_transformed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    conv = winograd_of(nn.Conv2d(96, 96, 3, padding=1))
    count: list[int] = []
    monkeypatch.setattr(winograd, "transform_kernel", lambda weight: count.append(1) or transform_kernel(weight))
    maps = [torch.randn(1, 96, side, side) for side in (32, 24, 17)]
    with torch.no_grad():
        for passes in (1, 2):
            with winograd.one_pass():
                found = [conv(x) for x in maps]
            assert len(count) == passes
            for x, y in zip(maps, found):
                assert relative(y, nn.functional.conv2d(x, conv.weight, conv.bias, padding=1)) < 5e-5
            conv.weight.data.mul_(-2)
        conv(maps[0])
    assert len(count) == 3


@pytest.mark.parametrize("output", ["sum", "squares"])
def test_second_derivatives(output: str) -> None:
    """Also where the gradient that comes in is constant, as that of a plain sum."""
    conv, x = nn.Conv2d(96, 96, 3, padding=1), torch.randn(1, 96, 28, 28)
    exact = second_derivatives(copy.deepcopy(conv).double(), x.double(), output)
    for mine, theirs in zip(second_derivatives(winograd_of(conv), x, output), exact, strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-3, atol=1e-3 * theirs.abs().max().item())


@pytest.mark.parametrize("case", ["small", "bfloat16", "float64"])
def test_otherwise_it_is_the_direct_convolution(case: str) -> None:
    conv = nn.Conv2d(96, 96, 3, padding=1)
    x = torch.randn(1, 96, 8, 8) if case == "small" else torch.randn(1, 96, 32, 32)
    if case == "float64":
        conv, x = conv.double(), x.double()
    with torch.autocast("cpu", torch.bfloat16, enabled=case == "bfloat16"):
        assert torch.equal(winograd_of(conv)(x), conv(x))
