"""Libraries that log and warn of their own code while they export, kept quiet."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep logs and warnings off the terminal; errors are still raised, and logged.

    One thread at a time: each would keep what another has switched off as what was there before.
    """
    with _LOCK:
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        finally:
            logging.disable(before)
