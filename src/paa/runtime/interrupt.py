"""Ctrl-C as the ordinary end of what has no other end, such as a camera."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def interrupt_as_end() -> Iterator[Callable[[], bool]]:
    """Yield whether Ctrl-C was pressed in this block. The first time raises nothing; after it Ctrl-C is as before.

    Signals reach the main thread only; in another thread Ctrl-C is as before from the start.
    """
    pressed = False

    def press(number: int, frame: object) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, before)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, press) or signal.SIG_DFL  # None: set by other code than Python's
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
