"""The machine on which numbers are measured, and the commit of the code."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from pathlib import Path

import torch
import torchvision

# those that matrix products and convolutions make use of, as Linux names them, on x86 and on Arm
INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16")
INSTRUCTIONS += ("asimd", "sve", "bf16")


def describe(device: str) -> dict[str, object]:
    """Return the machine and its software, in the order in which they are shown; the GPU if it is a CUDA device."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    cpuinfo = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
    flags = cpuinfo.get("flags", cpuinfo.get("Features", "")).split()
    system = platform.system()
    with contextlib.suppress(OSError):
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    machine: dict[str, object] = {
        "cpu": cpuinfo.get("model name", platform.machine()),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
    }
    if device.startswith("cuda"):
        gpu = torch.cuda.get_device_properties(device)
        machine |= {"gpu": gpu.name, "gpu_memory_gib": round(gpu.total_memory / 2**30), "cuda": torch.version.cuda}
    return machine | {
        "os": system,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


def commit() -> str:
    """Return the commit of the checkout, with `, changed` behind it where src/ or benchmarks/ differ from it."""
    root = Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        run = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
        return run.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "src", "benchmarks")
        return (git("rev-parse", "--short", "HEAD") or "unknown") + (", changed" if changed else "")
    except FileNotFoundError:
        return "unknown"
