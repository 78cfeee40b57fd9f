"""Signals that ask a program to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from paa.runtime.stop_signals import StoppedError, StopSignals


def test_the_first_signal_is_noted() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals().handled() as signals:
        assert (signals.received, signals.name) == (None, "")
        os.kill(os.getpid(), signal.SIGTERM)
        assert (signals.received, signals.name, signals.exit_code) == (signal.SIGTERM, "SIGTERM", 75)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_interrupts_where_it_may() -> None:
    with StopSignals().handled() as signals:
        with pytest.raises(StoppedError), signals.may_interrupt():
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(StoppedError), signals.may_interrupt():
            raise AssertionError("began, though the signal had come")
        assert signals.exit_code == 130


def test_an_ignored_signal_stays_ignored() -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals().handled() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signals.received is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


TWICE = """
import os, signal, sys
from paa.runtime.stop_signals import StopSignals
with StopSignals().handled():
    for number in sys.argv[1:]:
        os.kill(os.getpid(), int(number))
    print("lives")
"""


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_the_program(second: int) -> None:
    command = [sys.executable, "-c", TWICE, str(int(signal.SIGTERM)), str(int(second))]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -second
    torchrun = {**os.environ, "TORCHELASTIC_RUN_ID": "a"}  # passes the signal on that the terminal sent to all
    assert subprocess.run(command, env=torchrun, capture_output=True, check=True).stdout == b"lives\n"


def test_workers_ignore_them() -> None:
    code = "import os, signal; from paa.runtime.stop_signals import ignore_stop_signals as i; i(); "
    code += "[os.kill(os.getpid(), s) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)]"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


ORPHAN = """
import os, sys, time
from paa.runtime.stop_signals import StopSignals, end_with_torchrun
if os.fork() == 0:
    with StopSignals().handled() as signals:
        end_with_torchrun()
        print("ready", flush=True)
        for _ in range(600):
            if signals.received is not None:
                print(signals.name, flush=True)
                os._exit(0)
            time.sleep(0.05)
        os._exit(1)
os.wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells a process that its parent has ended")
def test_a_process_learns_that_torchrun_was_killed() -> None:
    torchrun = {**os.environ, "TORCHELASTIC_RUN_ID": "a"}
    with subprocess.Popen([sys.executable, "-c", ORPHAN], env=torchrun, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        parent.kill()
        assert parent.stdout.readline() == "SIGTERM\n"
