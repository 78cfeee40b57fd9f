"""When training warns of contended processors: decided from given numbers, none of them measured here."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from paa.runtime import contention
from paa.runtime.contention import CpuShare, CpuTimes, is_contended, read_times


@pytest.mark.parametrize(
    ("ran", "waited", "wall", "contended"),
    [
        (7.76, 0.04, 4, False),  # as measured: alone on two processors
        (5.32, 2.6, 4, True),  # half the speed lost
        (4.4, 3.6, 4, True),
        (1.76, 6.2, 4, True),
        (2.0, 3.56, 4, True),  # with OMP_WAIT_POLICY=PASSIVE beside others
        (3.9, 0.0, 4, False),  # one thread, alone
        (6.8, 0.9, 4, False),  # loader processes of its own, now and then
        (0.2, 0.2, 4, False),  # a GPU's host, which hardly computes
        (0.0, 0.0, 4, False),
    ],
)
def test_decision(ran: float, waited: float, wall: float, contended: bool) -> None:
    before = CpuTimes(100, 50, 1000)
    assert is_contended(before, CpuTimes(100 + ran, 50 + waited, 1000 + wall)) == contended


def remarks(shares: Sequence[float | None], seconds: float = 4) -> list[bool]:
    """Return at which calls a warning came, given the share of waiting in the time before each; None: not counted."""
    readings: list[CpuTimes | None] = [CpuTimes(0, 0, 0)]
    ran = waited = 0.0
    for i, share in enumerate(shares, 1):
        if share is None:
            readings.append(None)
            continue
        ran, waited = ran + (1 - share) * 2 * seconds, waited + share * 2 * seconds
        readings.append(CpuTimes(ran, waited, i * seconds))
    left = iter(readings)
    cpu_share = CpuShare(lambda: next(left))
    return [cpu_share.remark() is not None for _ in shares]


def test_one_warning_and_none_for_a_moment() -> None:
    assert remarks([0.0, 0.5, 0.5, 0.5, 0.0, 0.9, 0.9]) == [False, False, True, False, False, False, False]
    assert remarks([0.5, 0.0] * 4) == [False] * 8
    assert remarks([0.01] * 5) == [False] * 5


def test_short_times_are_taken_together() -> None:
    assert remarks([0.5] * 9, seconds=0.5) == [False] * 7 + [True, False]


def test_a_system_without_these_counts() -> None:
    assert CpuShare(lambda: None).remark() is None
    assert remarks([0.5, None, 0.5, 0.5]) == [False, False, True, False]


def test_the_remark_names_the_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contention, "_machine", lambda: "load average 4.7 on 2 processors")
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    readings = iter([CpuTimes(0, 0, 0), CpuTimes(4.4, 3.6, 4), CpuTimes(8.8, 7.2, 8)])
    cpu_share = CpuShare(lambda: next(readings))
    assert cpu_share.remark() is None
    said = cpu_share.remark()
    assert said is not None
    assert "(load average 4.7 on 2 processors): training waited 45% of the time that it needed one." in said
    assert "2 threads" in said
    for remedy in ("OMP_NUM_THREADS=1", "OMP_WAIT_POLICY=PASSIVE", "--workers"):
        assert remedy in said
    assert "\n" not in said
    assert "OMP" not in contention._remedy(1)  # one thread already


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="Linux counts how long threads wait")
def test_times_of_all_threads_are_read() -> None:
    before = read_times()
    assert before is not None
    done, is_read = threading.Event(), threading.Event()

    def work() -> None:
        start = time.thread_time()
        while time.thread_time() - start < 0.05:
            pass
        done.set()
        is_read.wait(60)  # its times go when it ends

    threading.Thread(target=work, daemon=True).start()
    assert done.wait(60)
    after = read_times()
    is_read.set()
    assert after is not None
    assert after.ran - before.ran > 0.04
    assert after.waited >= before.waited
    assert after.clock > before.clock


def test_the_machine_is_named() -> None:
    assert contention._machine().startswith("load average ")
    assert sys.platform != "linux" or "processor" in contention._machine()
