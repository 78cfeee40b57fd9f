"""What a step of training says of itself."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class StepResult(NamedTuple):
    """What a step says of its batch, on the device.

    losses: those of this process's images, divided by the normalisers of the whole batch. num_positives: mean over the
    processes. gradient_norm: before gradients are clipped. checked: the losses, in their order, and the gradient's
    norm, mean over the processes. finite: () bool, whether all of these are; otherwise the step was skipped.
    """

    losses: dict[str, Tensor]
    num_positives: Tensor
    gradient_norm: Tensor
    checked: Tensor
    finite: Tensor
