"""What makes a detector fast on a device: number format, memory layout, Winograd's convolutions, compilation."""

from __future__ import annotations

import logging

import torch
from torch import nn

from paa.config import Compilation, Precision
from paa.model.detector import Detector
from paa.model.winograd import use_winograd

log = logging.getLogger("paa")


def has_bfloat16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 matrices in hardware; others take far longer than in float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """Return what "auto" means on a device; warn where bfloat16 was asked for and will be slow."""
    if precision == "auto":
        return "bfloat16" if has_bfloat16(device) else "float32"
    if precision == "bfloat16" and not has_bfloat16(device):
        log.warning("this %s has no instructions for bfloat16, in which it is slower than in float32", _name(device))
    return precision


def arrange(detector: Detector, *, channels_last: bool, winograd: bool) -> None:
    """Lay out a detector on its device, in place and for training too; names and values of all tensors stay.

    winograd: on CPUs, 3x3 convolutions in float32 take a quarter of the multiplications and lose two or three bits.
    """
    if channels_last:
        detector.to(memory_format=torch.channels_last)
    if winograd and detector.mean.device.type == "cpu":
        use_winograd(detector)


def compile_network(network: nn.Module, compilation: Compilation) -> None:
    """Have a network compiled, in place, when it is first called; nothing is done for "off"."""
    if compilation != "off":
        network.compile(fullgraph=True, mode=None if compilation == "default" else compilation)


def _name(device: torch.device) -> str:
    return "GPU" if device.type == "cuda" else "CPU"
