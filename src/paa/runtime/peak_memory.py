"""How much memory a function takes while it runs."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

T = TypeVar("T")


def peak_memory(function: Callable[[], T], device: torch.device) -> tuple[T, int | None]:
    """Run a function; return its result, and by how many bytes memory rose above what was taken before.

    On a GPU torch's allocations, on a CPU what is resident of this process, in pages: on Linux with glibc; None
    elsewhere.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        result = function()
        torch.cuda.synchronize(device)
        return result, torch.cuda.max_memory_allocated(device) - before
    try:
        if platform.libc_ver()[0] != "glibc":
            return function(), None
        ctypes.CDLL(None).malloc_trim(0)  # memory that was freed and kept would be taken again unseen
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
        before = _resident("VmRSS")
    except OSError:
        return function(), None
    result = function()
    return result, max(0, _resident("VmHWM") - before)


def _resident(field: str) -> int:
    """Return a field of this process's memory: VmRSS, now, or VmHWM, its peak."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return 1024 * int(lines[field].split()[0])
