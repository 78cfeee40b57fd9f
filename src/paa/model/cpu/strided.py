"""3x3 convolutions of stride 2 whose kernels' gradient is a matrix product, for training on CPUs.

On processors with AVX2 at most, oneDNN's own gradient takes four to seven times as long: 7 % of a ResNet-50's step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

from paa.model.cpu.gradients import torch_gradients

_POSITIONS = 2048
"""Outputs whose 3x3 inputs are copied side by side at a time."""


def kernel_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient (K, C, 3, 3) of kernels of stride 2 and padding 1: x (B, C, H, W), gradient (B, K, h, w)."""
    (b, c, _, _), (k, height, width) = x.shape, gradient.shape[1:]
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).contiguous()
    rows = max(1, _POSITIONS // width)
    line = padded.stride(1)
    total = x.new_zeros(k, 9 * c)
    for image in range(b):
        for top in range(0, height, rows):
            outputs = gradient[image, :, top : top + rows].permute(1, 2, 0).reshape(-1, k)
            inputs = padded[image, 2 * top :].as_strided(
                (len(outputs) // width, width, 3, 3, c),
                (2 * line, 2 * c, line, c, 1),
                padded.storage_offset() + image * padded.stride(0) + 2 * top * line,
            )
            total.addmm_(outputs.T, inputs.reshape(len(outputs), -1))
    return total.view(k, 3, 3, c).permute(0, 3, 1, 2)


class _Convolution(torch.autograd.Function):
    """The convolution and its three gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, bias, stride=2, padding=1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        if torch.is_grad_enabled():
            return torch_gradients(x, weight, gradient, 2, ctx.needs_input_grad)
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            conv2d_input(x.shape, weight, gradient, stride=2, padding=1) if needs_x else None,
            kernel_gradient(x, gradient) if needs_weight else None,
            gradient.sum((0, 2, 3)) if needs_bias else None,
        )


class StridedConv2d(nn.Conv2d):
    """A 3x3 convolution of stride 2; on CPUs in float32 its kernels' gradient is `kernel_gradient`."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        suitable = input.device.type == "cpu" and input.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        if torch.compiler.is_compiling() or not (suitable and weight.requires_grad and torch.is_grad_enabled()):
            direct: Tensor = super()._conv_forward(input, weight, bias)
            return direct
        result: Tensor = _Convolution.apply(input, weight, bias)
        return result
