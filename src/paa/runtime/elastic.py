"""What a process does where machines come and go, and torchrun ends and starts its processes at each change.

They know of it by an environment variable that the rendezvous of `paa.runtime.rendezvous` sets.
"""

from __future__ import annotations

import logging
import os
import time

from paa.runtime.stop_signals import StopSignals

log = logging.getLogger("paa")

NOTICED_AFTER = "PAA_NOTICED_AFTER"
"""The variable: after how many seconds without a sign of life a machine is missed."""
_RESERVE = 60.0
"""Seconds in which torchrun ends its processes once it misses a machine, or knows of one that joins."""
_LOCK_PATIENCE = 180.0
"""Seconds in which the processes of a machine that was cut off have ended: after at most 60, torchrun there no longer
waits for the store, and gives its processes 30."""


def wait_for_restart(signals: StopSignals, reason: str) -> bool:
    """Wait for the signal by which torchrun ends this process to start it again; return whether one came.

    For a process that cannot go on without the others: torchrun would count it as failed if it ended by itself. Where
    no change of machines is expected it does not wait. reason: why it cannot go on, for the log.
    """
    if signals.received is None and NOTICED_AFTER in os.environ:
        log.warning(f"{reason}; torchrun is to start it again, with the machines that are left")
        until = time.monotonic() + float(os.environ[NOTICED_AFTER]) + _RESERVE
        while signals.received is None and time.monotonic() < until:
            time.sleep(0.05)
    return signals.received is not None


def lock_patience() -> float:
    """Return how many seconds to wait for a run's folder, which a machine that was cut off may hold for a while.

    0 where no change of machines is expected: whoever holds the folder is not about to be ended then.
    """
    return _LOCK_PATIENCE if NOTICED_AFTER in os.environ else 0.0
