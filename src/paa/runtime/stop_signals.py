"""Signals that ask a program to end, taken so that it can save its work first."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ASKING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1") if hasattr(signal, name))
"""A scheduler ends a job by SIGTERM, and warns before that by SIGUSR1 or what its user chose; a person sends SIGINT by
Ctrl-C, and SIGHUP by closing the terminal."""
_ECHO = 3.0
"""Seconds in which torchrun passes on a signal that its processes have got from the terminal or the scheduler too."""
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_TRY_AGAIN = 75
"""EX_TEMPFAIL of sysexits.h: the program did not finish, and may when it is started again."""


class StoppedError(BaseException):
    """Ends what `StopSignals.may_interrupt` surrounds.

    No Exception, as KeyboardInterrupt is none: code that takes any Exception, as of a decoder, must not take this one.
    """


class StopSignals:
    """Notes the first signal that asks this program to end; the second one ends it at once, as if it were not handled.

    received: that first signal. elsewhere: the name of a signal that another process of the run received, to be set by
    who learns of it.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.elsewhere = ""
        self._at = 0.0
        self._interrupts = False

    @property
    def name(self) -> str:
        """The name of the signal that was received."""
        return self.received.name if self.received is not None else ""

    @property
    def exit_code(self) -> int:
        """The exit code of a program that was interrupted, by a signal or by the end of its time.

        75, on which a scheduler should start it again; 130, as in a shell, where a person interrupted it.
        """
        return 128 + signal.SIGINT if self.received == signal.SIGINT else _TRY_AGAIN

    @contextmanager
    def handled(self) -> Iterator[StopSignals]:
        """Take the signals while the block runs; to be entered in the main thread.

        A signal that is ignored, as SIGHUP is under nohup, stays ignored.
        """
        before = {each: signal.getsignal(each) for each in _ASKING}
        taken = {each: handler for each, handler in before.items() if handler is not signal.SIG_IGN}
        for each in taken:
            signal.signal(each, self._take)
        try:
            yield self
        finally:
            for each, handler in taken.items():
                signal.signal(each, handler)

    @contextmanager
    def may_interrupt(self) -> Iterator[None]:
        """Let a signal raise StoppedError inside the block, where nothing would be lost; also one that came before."""
        self._interrupts = True
        try:
            if self.received is not None:
                raise StoppedError
            yield
        finally:
            self._interrupts = False

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._at = signal.Signals(number), time.monotonic()
            if self._interrupts:
                raise StoppedError
        elif not (_under_torchrun() and time.monotonic() < self._at + _ECHO):
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


def ignore_stop_signals() -> None:
    """Leave the signals that ask a program to end to the process that started this one."""
    for each in _ASKING:
        signal.signal(each, signal.SIG_IGN)


def end_with_torchrun() -> None:
    """Have the system send SIGTERM to this process if torchrun, which started it, is killed; on Linux alone."""
    if _under_torchrun() and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _under_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ
