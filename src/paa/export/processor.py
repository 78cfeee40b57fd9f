"""Which instructions this machine's processor has, for files with machine code."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

_CPUINFO = Path("/proc/cpuinfo")
# what a compiler may use; other flags of Linux's list are of no concern to it
_INSTRUCTIONS = (
    "abm",
    "adx",
    "amx",
    "asimd",
    "avx",
    "bf16",
    "bmi",
    "f16c",
    "fma",
    "gfni",
    "i8mm",
    "movbe",
    "popcnt",
    "sha_ni",
    "sse",
    "ssse",
    "sve",
    "vaes",
    "vpclmulqdq",
)


def processor() -> frozenset[str]:
    """Return the kind of processor and its instruction sets; less is known where there is no /proc/cpuinfo."""
    found = {platform.machine(), torch.backends.cpu.get_cpu_capability().lower()}
    if _CPUINFO.is_file():
        for line in _CPUINFO.read_text().splitlines():
            name, _, values = line.partition(":")
            if name.strip() in ("flags", "Features"):
                found |= {value for value in values.split() if value.startswith(_INSTRUCTIONS)}
                break
    return frozenset(found)
