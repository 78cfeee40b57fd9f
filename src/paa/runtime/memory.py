"""Keeping freed memory for the next large tensor on a CPU, as new memory costs the system's time to clear it."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4  # malloc.h


def keep_memory(keep: bool = True) -> None:
    """Let this process keep the memory that it frees, where the C library is glibc; others are left alone.

    By default glibc maps a block of more than 32 MB, such as the first stage of a ResNet at 800 pixels, anew at each
    allocation, and the system clears the block page by page. keep: False sets the limits that glibc itself arrives at,
    and gives back what is kept.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    limits = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1, _TOP_PAD: 2**26}
    if not keep:
        limits = {_MMAP_MAX: 2**16, _MMAP_THRESHOLD: 2**25, _TRIM_THRESHOLD: 2**26, _TOP_PAD: 2**17}
    libc = ctypes.CDLL(None)
    for limit, value in limits.items():
        libc.mallopt(limit, value)
    if not keep:
        libc.malloc_trim(0)


@contextmanager
def keeping_memory() -> Iterator[None]:
    """Let this process keep the memory that it frees until the block ends, as `keep_memory` says."""
    keep_memory()
    try:
        yield
    finally:
        keep_memory(False)
