"""A device, or the machine, that has no memory left for what is computed: recognising it, and saying it in one line."""

from __future__ import annotations

import re

import torch

from paa.errors import format_bytes


def is_out_of_memory(error: Exception) -> bool:
    """Return whether torch raised the error for want of memory, on a GPU or on a CPU."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    # cuBLAS and cuDNN have their own words for a workspace that finds no memory
    texts = r"out of memory|allocate memory|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED"
    return isinstance(error, RuntimeError) and bool(re.search(texts, str(error), re.I))


def out_of_memory_line(device: torch.device, images: int, size: tuple[int, int]) -> str:
    """Return what a device had no memory for: a number of images of (height, width) `size`."""
    name, total = str(device), ""
    if device.type == "cuda" and torch.cuda.is_available():
        total = f" of {format_bytes(torch.cuda.get_device_properties(device).total_memory)}"
    count = f"{images} image{'' if images == 1 else 's'}"
    return f"{name} has no memory left{total} for {count} of {size[0]} x {size[1]} pixels at a time"
