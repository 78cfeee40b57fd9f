"""The processes of a run resume from the same checkpoint, also where machines see a shared folder's files late."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from paa.errors import RunError
from paa.runtime.distributed import Process

_PATIENCE = 90.0
"""Seconds; a network file system may show a file that was replaced as it was for 60 (acdirmax of NFS)."""


def agree_on_checkpoint(process: Process, find: Callable[[], Path | None], patience: float = _PATIENCE) -> Path | None:
    """Return the checkpoint that `find` finds, as soon as all processes find the same; every process calls this.

    `find` returns None where there is none. RunError if the processes still find different ones after `patience`
    seconds.
    """
    until = time.monotonic() + patience
    while True:
        path = find()
        found = process.gather(_identity(path))
        if all(each == found[0] for each in found):
            return path
        if process.any(time.monotonic() > until):
            raise RunError(
                f"the machines see different checkpoints ({', '.join(map(str, dict.fromkeys(found)))}): --output must "
                "be one folder that all of them share"
            )
        time.sleep(0.5)


def _identity(path: Path | None) -> str:
    """Return what tells a checkpoint from the one that it replaced: its name, size and time."""
    if path is None:
        return "none"
    try:
        with path.open("rb") as file:  # opened, as a network file system then asks the server for the file's state
            state = os.fstat(file.fileno())
    except OSError as error:
        return f"{path.name}: {error.strerror}"
    return f"{path.name} of {state.st_size} bytes, {state.st_mtime_ns / 1e9:.3f}"
