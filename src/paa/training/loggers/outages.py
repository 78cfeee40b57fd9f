"""A logger whose server may be away: training goes on, and what was missed is sent when it answers again."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from paa.errors import one_line
from paa.training.loggers.interface import RunLogger

log = logging.getLogger("paa")

_PAUSE = 60.0
"""Seconds without a new attempt after one that failed, as each may wait for a server that does not answer."""


class OutageTolerant:
    """Hands everything on to another logger, and keeps the numbers that this one could not take, for later.

    The first failure is one line of warning. What is missing at the end is a second one.
    """

    def __init__(self, name: str, logger: RunLogger, clock: Callable[[], float] = time.monotonic) -> None:
        """name: of the logger, for messages."""
        self._name, self._logger, self._clock = name, logger, clock
        self._waiting: deque[tuple[int, dict[str, float]]] = deque()
        self._next_attempt, self._warned = 0.0, False

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Send the numbers of a step, and those that wait, or let them wait."""
        self._waiting.append((step, dict(values)))
        if self._clock() >= self._next_attempt:
            self._send()

    def picture(self, step: int, name: str, path: Path) -> None:
        """Send a picture, unless the server is away: the run's folder has it."""
        if self._clock() >= self._next_attempt:
            self._try(lambda: self._logger.picture(step, name, path))

    def files(self, paths: Sequence[Path]) -> None:
        """Send what waits, and the files."""
        if self._send():
            self._try(lambda: self._logger.files(paths))

    def close(self, error: BaseException | None) -> None:
        """Send what waits, and close; a line says how much is missing."""
        self._send()
        if self._waiting:
            log.warning(f"{self._name}: {len(self._waiting)} records of log.jsonl are missing there")
        self._try(lambda: self._logger.close(error))

    def _send(self) -> bool:
        """Send the numbers that wait, in their order; return whether all are sent."""
        while self._waiting:
            step, values = self._waiting[0]
            if not self._try(lambda step=step, values=values: self._logger.scalars(step, values)):  # type: ignore[misc]
                self._next_attempt = self._clock() + _PAUSE
                return False
            self._waiting.popleft()
        return True

    def _try(self, call: Callable[[], object]) -> bool:
        """Return whether a call succeeds; the first failure is logged."""
        try:
            call()
        except Exception as error:  # whatever another project's client raises must not stop a training
            if not self._warned:
                log.warning(f"{self._name}: {one_line(error)}; training goes on, and log.jsonl has every number")
            self._warned = True
            return False
        return True
