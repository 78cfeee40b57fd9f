"""3x3 convolutions with a quarter of the multiplications: Winograd's F(4x4, 3x3) (Lavin & Gray, 2016), for CPUs.

A tile of 4 x 4 outputs is a sum over channels of products of 36 numbers, not of 144: tiles of 6 x 6 inputs, the kernels
and the outputs go through fixed linear maps, and between the maps there is one matrix product for each of the 36
positions of a tile, computed by torch. Float32 only: the maps cost two or three bits, which bfloat16 cannot spare.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from paa.model.cpu.gradients import torch_gradients

_TILE = 4
"""Outputs along each side of a tile; their inputs are 6 along each side."""
_MIN_INPUTS, _MIN_OUTPUTS, _MIN_TILES = 64, 64, 16
"""With fewer channels or tiles the maps cost more than the products save."""
_BLOCK = 1 << 15
"""Tiles x channels that are processed at a time, so that they stay in the processor's cache."""

# The linear maps for inputs, kernels and outputs, of the interpolation points 0, 1, -1, 2, -2 and infinity.
_INPUT = torch.tensor(
    [
        [4.0, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
_KERNEL = torch.tensor([[6.0, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
_OUTPUT = torch.tensor([[1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
_INPUT_2D, _KERNEL_2D, _OUTPUT_2D = (torch.kron(matrix, matrix) for matrix in (_INPUT, _KERNEL, _OUTPUT))


def transform_kernel(weight: Tensor) -> Tensor:
    """Return kernels (K, C, 3, 3) as one matrix for each of the 36 positions: (36, C, K)."""
    k, c = weight.shape[:2]
    return (_KERNEL_2D @ weight.permute(2, 3, 1, 0).reshape(9, c * k)).view(36, c, k)


class _Pass(threading.local):
    """The transformed kernels of a thread's forward pass, by the ids of their weights; None outside of a pass."""

    kernels: dict[int, Tensor] | None = None


_pass = _Pass()


@contextmanager
def one_pass() -> Iterator[None]:
    """Within this context, transform each convolution's kernels once, not at each call; no weight may change.

    For a head that all levels of a pyramid share.
    """
    outer, _pass.kernels = _pass.kernels, {}
    try:
        yield
    finally:
        _pass.kernels = outer


def _padded(x: Tensor, border: int) -> Tensor:
    """Return x (B, C, H, W) padded with zeros, channels last: (B, H' + 2 border, W' + 2 border, C).

    H', W': H and W, rounded up to whole tiles.
    """
    b, c, h, w = x.shape
    height, width = -(-h // _TILE) * _TILE, -(-w // _TILE) * _TILE
    result = x.new_empty(b, height + 2 * border, width + 2 * border, c)
    result[:, border : border + h, border : border + w] = x.permute(0, 2, 3, 1)
    for padding in (result[:, :border], result[:, border + h :], result[:, :, :border], result[:, :, border + w :]):
        padding.zero_()
    return result


def _blocks(x: Tensor, side: int, channels: int) -> Iterator[tuple[int, slice, Tensor]]:
    """Yield (image, rows of tiles, tiles) of what `_padded` returned, as many at once as the cache holds.

    side: that of the tiles, 6 or 4. tiles: a view (side, side, rows, columns, C).
    """
    b, height, width, c = x.shape
    rows, columns = height // _TILE, width // _TILE
    block_rows = max(1, _BLOCK // channels // columns)
    block_rows = -(-rows // -(-rows // block_rows))  # the same number of blocks, as equal as possible
    for image in range(b):
        for top in range(0, rows, block_rows):
            block = slice(top, min(top + block_rows, rows))
            start = x.storage_offset() + (image * height + top * _TILE) * width * c
            shape = (side, side, block.stop - block.start, columns, c)
            yield image, block, x.as_strided(shape, (width * c, c, _TILE * width * c, _TILE * c, 1), start)


def _map(matrix: Tensor, values: Tensor) -> Tensor:
    """Apply a map to the first two dimensions of tiles: (P, side^2), (side, side, rows, columns, C) -> (P, n, C)."""
    c = values.shape[-1]
    return torch.mm(matrix, values.reshape(matrix.shape[1], -1)).view(len(matrix), -1, c)


def _convolve(x: Tensor, kernels: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve x (B, C, H, W) with transformed kernels (36, C, K): (B, K, H, W), channels last."""
    b, c, h, w = x.shape
    k = kernels.shape[2]
    padded = _padded(x, 1)
    rows, columns = padded.shape[1] // _TILE, padded.shape[2] // _TILE
    result = x.new_empty(b, rows, _TILE, columns, _TILE, k)
    for image, block, tiles in _blocks(padded, 6, max(c, k)):
        products = torch.bmm(_map(_INPUT_2D, tiles), kernels)
        outputs = torch.mm(_OUTPUT_2D, products.view(36, -1)).view(_TILE, _TILE, -1, columns, k)
        outputs = outputs.permute(2, 0, 3, 1, 4)
        if bias is None:
            result[image, block] = outputs
        else:
            torch.add(outputs, bias, out=result[image, block])
    # not a view of the result: autograd would not let a ReLU change a view in place
    height, width = rows * _TILE, columns * _TILE
    strides = (height * width * k, 1, width * k, k)
    return x.new_empty(0).set_(result.untyped_storage(), 0, (b, k, h, w), strides)


def _kernel_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient (K, C, 3, 3) of the kernels, from inputs (B, C, H, W) and the outputs' gradient."""
    c, k = x.shape[1], gradient.shape[1]
    total = x.new_zeros(36, c, k)
    channels = max(c, k)
    pairs = zip(_blocks(_padded(x, 1), 6, channels), _blocks(_padded(gradient, 0), 4, channels))
    for (_, _, inputs), (_, _, outputs) in pairs:
        total.baddbmm_(_map(_INPUT_2D, inputs).transpose(1, 2), _map(_OUTPUT_2D.T, outputs))
    return (_KERNEL_2D.T @ total.view(36, -1)).view(3, 3, c, k).permute(3, 2, 0, 1)


class _Convolution(torch.autograd.Function):
    """The convolution and its three gradients; kernels: the transformed weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, kernels: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _convolve(x, kernels, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias, _ = ctx.needs_input_grad
        if torch.is_grad_enabled():
            return *torch_gradients(x, weight, gradient, 1, (needs_x, needs_weight, needs_bias)), None
        # a convolution's gradient is the convolution with the mirrored kernels, from outputs to inputs
        mirrored = transform_kernel(weight.flip(2, 3).transpose(0, 1)) if needs_x else None
        return (
            None if mirrored is None else _convolve(gradient, mirrored, None),
            _kernel_gradient(x, gradient) if needs_weight else None,
            gradient.sum((0, 2, 3)) if needs_bias else None,
            None,
        )


class WinogradConv2d(nn.Conv2d):
    """A 3x3 convolution of stride 1 that uses Winograd's algorithm where that is faster.

    That is in float32, on CPUs, for many channels and maps that are not small; elsewhere it is `nn.Conv2d`.
    """

    constant = False
    """Whether the weight will not change again, so that its transformed kernels may be kept: four times its size."""
    _kept: Tensor | None = None

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        h, w = input.shape[-2:]
        if (
            self.in_channels < _MIN_INPUTS
            or self.out_channels < _MIN_OUTPUTS
            or -(-h // _TILE) * -(-w // _TILE) < _MIN_TILES  # of one image, whose result must not depend on its batch
            or input.device.type != "cpu"
            or input.dtype != torch.float32
            or torch.is_autocast_enabled("cpu")
            or torch.compiler.is_compiling()  # the loop over blocks would be unrolled
        ):
            direct: Tensor = super()._conv_forward(input, weight, bias)
            return direct
        result: Tensor = _Convolution.apply(input, weight, bias, self._kernels(weight))
        return result

    def _load_from_state_dict(self, *arguments: Any) -> None:
        self._kept = None
        super()._load_from_state_dict(*arguments)

    @torch.no_grad()
    def _kernels(self, weight: Tensor) -> Tensor:
        """Return the transformed kernels; kept for the next call only inside `one_pass` and for constant weights.

        Otherwise nothing shows that a weight has not changed since: fused optimizers and writes to `.data` change
        neither its version nor its address.
        """
        if weight is not self.weight:
            return transform_kernel(weight)
        if self.constant:
            if self._kept is None:
                self._kept = transform_kernel(weight)
            return self._kept
        if _pass.kernels is None:
            return transform_kernel(weight)
        if id(weight) not in _pass.kernels:
            _pass.kernels[id(weight)] = transform_kernel(weight)
        return _pass.kernels[id(weight)]
