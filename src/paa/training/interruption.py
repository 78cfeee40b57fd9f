"""What ends a run before its last step without anybody's decision about its training: a signal, or its time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from paa.runtime.distributed import Process
from paa.runtime.stop_signals import StopSignals
from paa.training.time_limit import TimeLimit


class Interruption:
    """Whether a run is interrupted, which all of its processes learn at the same step.

    reason: what interrupted it, for people; None as long as nothing has.
    """

    def __init__(self, process: Process, signals: StopSignals, limit: TimeLimit) -> None:
        self._process, self._signals, self.limit = process, signals, limit
        self.reason: str | None = None

    def check(self, *next_parts: str) -> None:
        """Learn whether a signal came, or the time is too short for the next parts; every process calls this."""
        reason = ""
        if self._signals.name:
            reason = self._signals.name
        elif self.limit.forbids(*next_parts):
            reason = "the end of its time (max_hours)"
        if self._process.any(bool(reason)):
            self.reason, signal = next(filter(any, self._process.gather((reason, self._signals.name))))
            self._signals.elsewhere = "" if self._signals.name else signal

    @contextmanager
    def anywhere(self) -> Iterator[None]:
        """Let a signal raise StoppedError inside the block, where the last checkpoint holds all there is."""
        with self._signals.may_interrupt():
            yield

    @contextmanager
    def between_steps(self) -> Iterator[None]:
        """Let a signal raise StoppedError inside the block, after which the run can be saved as it stands.

        Not where there are several processes, which must be at the same step: their signals wait for `check`.
        """
        with self._signals.may_interrupt() if self._process.world == 1 else nullcontext():
            yield
