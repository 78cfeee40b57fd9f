"""The gradients of a 3x3 convolution as torch computes them: slower than those of this folder, but differentiable."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.grad import conv2d_input, conv2d_weight


def torch_gradients(
    x: Tensor, weight: Tensor, gradient: Tensor, stride: int, needed: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients of input, kernels and bias of a convolution of padding 1, None where not needed.

    x (B, C, H, W), weight (K, C, 3, 3), gradient (B, K, h, w): of the outputs. For backward passes that are
    differentiated themselves (`create_graph`), in which the faster gradients of this folder would be constants.
    """
    return (
        conv2d_input(x.shape, weight, gradient, stride=stride, padding=1) if needed[0] else None,
        conv2d_weight(x, weight.shape, gradient, stride=stride, padding=1) if needed[1] else None,
        gradient.sum((0, 2, 3)) if needed[2] else None,
    )
