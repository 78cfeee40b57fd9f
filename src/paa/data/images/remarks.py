"""Warnings about images that are read although something is wrong with them, also those read by loader workers."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

log = logging.getLogger("paa")

_collected: ContextVar[list[str] | None] = ContextVar("_collected", default=None)


@functools.lru_cache(maxsize=10_000)  # a server lives long
def warn_once(remark: str) -> None:
    """Log a warning; the same one is logged once in a process, however often its image is read."""
    log.warning("%s", remark)


def remark(message: str) -> None:
    """Warn about an image: collected inside `collected_remarks`, else logged once."""
    if (remarks := _collected.get()) is None:
        warn_once(message)
    else:
        remarks.append(message)


@contextmanager
def collected_remarks() -> Iterator[list[str]]:
    """Collect the warnings about images that are read inside, so that a worker can hand them over with its batch."""
    remarks: list[str] = []
    token = _collected.set(remarks)
    try:
        yield remarks
    finally:
        _collected.reset(token)
