"""Make a detector fast on its device: precision, memory layout, faster convolutions, compilation."""

from __future__ import annotations

import functools
import logging

import torch
from torch import nn

from paa.config import Compilation, Precision
from paa.model.cpu.convolutions import use_fast_convolutions
from paa.model.detector import Detector
from paa.runtime.device import has_bfloat16

log = logging.getLogger("paa")


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """Return what "auto" means on a device; warn where bfloat16 was asked for and will be slow."""
    if precision == "auto":
        return "bfloat16" if has_bfloat16(device) else "float32"
    if precision == "bfloat16" and not has_bfloat16(device):
        _warn_of_slow_bfloat16(_name(device))
    return precision


@functools.cache  # warns once in a process: a run resolves its precision at each validation
def _warn_of_slow_bfloat16(device: str) -> None:
    log.warning("this %s has no instructions for bfloat16, in which it is slower than in float32", device)


def prepare_for_device(detector: Detector, *, channels_last: bool, fast_convolutions: bool) -> None:
    """Choose memory layout and convolutions for a detector's device, in place; names and values of tensors stay.

    The detector can be trained afterwards, and moved to another device. fast_convolutions: on CPUs in float32,
    Winograd's convolutions, with a quarter of the multiplications and two or three bits less precise, and faster
    gradients of strided convolutions.
    """
    if channels_last:
        detector.to(memory_format=torch.channels_last)
    if fast_convolutions and detector.mean.device.type == "cpu":
        use_fast_convolutions(detector)


def compile_network(network: nn.Module, compilation: Compilation) -> None:
    """Compile a network, in place, at its first call; "off" does nothing.

    At the second image size torch compiles code for any size. `fullgraph` is not set, though there is no graph break:
    with it, a run that meets torch's limit of recompilations ends in an error; without, the network runs uncompiled.
    """
    if compilation != "off":
        network.compile(mode=None if compilation == "default" else compilation)


def _name(device: torch.device) -> str:
    return "GPU" if device.type == "cuda" else "CPU"
