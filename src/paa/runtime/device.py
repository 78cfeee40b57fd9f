"""The device that a process computes on: picking it, and what it has instructions for."""

from __future__ import annotations

import torch

from paa.errors import RunError


def pick_device(name: str | None, local_rank: int = 0) -> torch.device:
    """Return the device of that name; None: a GPU if there is one, else the CPU.

    local_rank: the GPU that "cuda" without a number stands for. RunError if there is no such device.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise RunError(f"unknown device {name!r}: expected cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise RunError(f"device {name!r} is not supported: expected cpu, cuda or cuda:N")
    if device.type == "cuda":
        number = local_rank if device.index is None else device.index
        if number >= torch.cuda.device_count():
            raise RunError(f"device {name!r} does not exist: this machine has {torch.cuda.device_count()} GPUs")
        device = torch.device("cuda", number)
    return device


def has_bfloat16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 matrices in hardware; others take far longer than in float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
