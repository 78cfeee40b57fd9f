"""Warning a user once when other processes take the processors that training needs.

OpenMP's threads share each operation and spin until all have done their part, so one that has to wait for a processor
holds up all others, which burn processor time meanwhile: neither process time nor its ratio to wall time shows that.
But Linux counts for each thread how long it was ready to run and waited for a processor. Measured on two cores, for a
ResNet-18 trained with two threads (share of the time spent waiting: steps a second): alone 0.00: 11.1; beside one to
four busy processes 0.33: 5.9, 0.45: 1.6, 0.59: 1.2, 0.77: 0.3. Beside three busy processes, where two threads made 0.4
to 1.3 steps a second, one thread made 3.7 to 4.7, and two threads that sleep instead of spinning
(OMP_WAIT_POLICY=PASSIVE) 3.2 to 6.2.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

_SHARE = 0.25  # at 0.33 half the speed was lost
_LEAST_OF_WALL = 0.1  # share; waiting for less of the wall time, as on a GPU's host, costs little
_SHORTEST = 2.0  # seconds between two readings; the kernel's time slices are some milliseconds
_IN_A_ROW = 2  # readings; something short, such as the start of a backup, deserves no warning


class CpuTimes(NamedTuple):
    """Seconds that the threads of this process ran, and waited for a processor, since they started; and the clock."""

    ran: float
    waited: float
    clock: float


def is_contended(before: CpuTimes, after: CpuTimes) -> bool:
    """Return whether, between two readings, the wait for processors was long enough to cost much of the speed."""
    ran, waited, wall = (b - a for a, b in zip(before, after))
    return waited >= _SHARE * (ran + waited) and waited >= _LEAST_OF_WALL * wall and waited > 0


def read_times() -> CpuTimes | None:
    """Return the times of this process up to now; None on systems that do not count them (other than Linux)."""
    ran = waited = 0
    try:
        for task in Path("/proc/self/task").iterdir():
            try:
                on_cpu, on_queue, _ = (task / "schedstat").read_text().split()
            except (FileNotFoundError, ProcessLookupError):  # a thread that has ended since
                continue
            ran, waited = ran + int(on_cpu), waited + int(on_queue)
    except (OSError, ValueError):
        return None
    return CpuTimes(ran / 1e9, waited / 1e9, time.perf_counter()) if ran else None


class CpuShare:
    """Watches whether this process gets the processors it needs. read: `read_times`, or its replacement in a test."""

    def __init__(self, read: Callable[[], CpuTimes | None] = read_times) -> None:
        self._read = read
        self._before = read()
        self._in_a_row = 0
        self._warned = False

    def remark(self) -> str | None:
        """Return a warning for the user, once, when two readings in a row show contention; None otherwise.

        To be called at each line of the log; judges the time since the last reading, at least two seconds ago.
        """
        before = self._before
        if self._warned or before is None:
            return None
        after = self._read()
        if after is None or after.clock - before.clock < _SHORTEST:
            return None
        self._before = after
        if not is_contended(before, after):
            self._in_a_row = 0
            return None
        self._in_a_row += 1
        if self._in_a_row < _IN_A_ROW:
            return None
        self._warned = True
        waited = after.waited - before.waited
        share = waited / (after.ran - before.ran + waited)
        return (
            f"the processors are contended ({_machine()}): training waited {share:.0%} of the time that it needed one. "
            + _remedy(torch.get_num_threads())
        )


def _remedy(threads: int) -> str:
    """Return what would make a training process with this number of threads faster beside other processes."""
    if threads == 1:
        return "Fewer processes at the same time, its own --workers among them, would make training faster"
    return (
        f"Its {threads} threads wait for each other, which makes it worse: OMP_NUM_THREADS=1, fewer --workers, or "
        "OMP_WAIT_POLICY=PASSIVE, which costs 45% of the speed on an idle machine, may help"
    )


def _machine() -> str:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"load average {os.getloadavg()[0]:.1f} on {cpus} processor{'s' if cpus > 1 else ''}"
