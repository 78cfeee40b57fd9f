from __future__ import annotations

import json
import subprocess
import sys

import pytest

from paa.runtime import memory
from paa.runtime.memory import keep_memory

IN_ITS_OWN_PROCESS = """
import ctypes, json, torch
from paa.runtime.memory import keep_memory

class Counts(ctypes.Structure):  # malloc.h's struct mallinfo2
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Counts
said = {}
for keep in (False, True):
    keep_memory(keep)
    before = mallinfo2()
    tensor = torch.zeros(25_000_000)
    mapped = mallinfo2().hblkhd - before.hblkhd
    del tensor
    said[str(keep)] = [mapped, mallinfo2().fordblks - before.fordblks]
print(json.dumps(said))
"""


def glibc() -> tuple[int, ...]:
    name, version = memory.platform.libc_ver()
    return tuple(map(int, version.split("."))) if name == "glibc" else ()


@pytest.mark.skipif(glibc() < (2, 33), reason="the counts of memory are glibc's, from 2.33 on")
def test_what_is_freed_is_kept() -> None:
    """By the counts of the C library: bytes that a large tensor has mapped for itself, bytes kept when it is gone."""
    done = subprocess.run([sys.executable, "-c", IN_ITS_OWN_PROCESS], capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    mapped, kept = said["False"]
    assert mapped >= 100_000_000
    assert kept < 1_000_000
    mapped, kept = said["True"]
    assert mapped == 0
    assert kept >= 99_000_000  # all but what was free at the end of the heap before


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("musl", ""))
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: pytest.fail("touched"))
    keep_memory()
