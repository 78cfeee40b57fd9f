"""The time that a run may take (`runtime.max_hours`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_RESERVE = 5.0
"""Seconds for what comes after the last checkpoint."""


class TimeLimit:
    """Says when a run must end, so that there is time left to save its checkpoint.

    Its time begins when the object is made.
    """

    def __init__(self, hours: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        """hours: None for no limit. clock: returns seconds."""
        self._clock = clock
        self._end = None if hours is None else clock() + 3600 * hours
        self._longest: dict[str, float] = {}

    @contextmanager
    def measured(self, part: str) -> Iterator[None]:
        """Measure a part of the run, a step, a validation or a save, which will be done again."""
        started = self._clock()
        yield
        self._longest[part] = max(self._longest.get(part, 0.0), self._clock() - started)

    def forbids(self, *parts: str) -> bool:
        """Return whether these parts might take longer than the time that is left, with a reserve.

        Each is taken to last as long as its longest so far.
        """
        if self._end is None:
            return False
        needed = sum(self._longest.get(part, 0.0) for part in parts)
        return self._clock() + needed + _RESERVE > self._end
