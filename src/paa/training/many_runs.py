"""What a search and a study need of their many runs: each in a folder of its own, and going on where it was stopped."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from paa.errors import RunError
from paa.runtime.distributed import Process
from paa.runtime.files import check_folder
from paa.runtime.stop_signals import StoppedError, StopSignals
from paa.training.records import Listener, OnAssignment, TrainResult, ignore_assignment
from paa.training.run_folder import RunFolder
from paa.training.settings import TrainConfig
from paa.training.train import train


def train_or_go_on(
    config: TrainConfig,
    folder: Path,
    process: Process,
    listener: Listener,
    signals: StopSignals | None = None,
    on_assignment: OnAssignment = ignore_assignment,
) -> TrainResult:
    """Train a run in a folder, or go on with the one that an earlier process left unfinished there.

    Where signals or the end of its time (`runtime.max_hours`) end the run early, StoppedError is raised, after a
    checkpoint is saved. The other arguments are those of `paa.training.train.train`.
    """
    config = replace(config, output=folder, resume="last")
    result = train(config, process, listener, signals, on_assignment=on_assignment)
    if result.interrupted:
        raise StoppedError
    return result


def make_folder_of_runs(folder: Path) -> None:
    """Make the folder in which runs will be; RunError if it cannot be, or is that of a run."""
    check_folder(folder)
    if RunFolder(folder).log.exists():
        raise RunError(f"{folder}: is the folder of a training run; give another --output")
    folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def warnings_only() -> Iterator[None]:
    """Show only the warnings of runs inside: the first lines of many runs are much the same."""
    log = logging.getLogger("paa")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)
