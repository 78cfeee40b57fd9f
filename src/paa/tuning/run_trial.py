"""One trial: an ordinary training run in a folder of its own, which is stopped where it falls behind."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from paa.runtime.distributed import Process
from paa.runtime.stop_signals import StoppedError, StopSignals
from paa.training.records import STOP, Listener, Record
from paa.training.run_folder import RunFolder
from paa.training.settings import TrainConfig
from paa.training.train import train
from paa.tuning.study import State, Trial


def run_trial(
    config: TrainConfig,
    trial: Trial,
    folder: Path,
    process: Process,
    prune: bool,
    listener: Listener,
    signals: StopSignals | None = None,
) -> tuple[State, float | None]:
    """Train, and return how the trial ended and the AP of its last validation.

    A run that an earlier process left unfinished in the trial's folder is resumed. prune: stop the run where its AP is
    below the median of the trials before, after as many validations. signals: those that end the run early; then, and
    at the end of its time (`runtime.max_hours`), StoppedError is raised, after a checkpoint is saved.
    """
    run = RunFolder(folder / trial.folder)
    pruned = False

    def listen(record: Record) -> object:
        nonlocal pruned
        asked = listener(record)
        if "AP" in record:
            aps = [each["AP"] or 0.0 for each in run.records() if "AP" in each]
            behind = trial.report(aps)
            steps = max(each.get("steps", 0) for each in run.records())
            pruned = prune and behind and record["step"] < steps
        return STOP if pruned else asked

    result = train(replace(config, output=run.path, resume="last"), process, listen, signals)
    if result.interrupted:
        raise StoppedError
    ap = None if result.validation is None else result.validation["AP"]
    return ("pruned" if pruned else "done"), ap


@contextmanager
def warnings_only() -> Iterator[None]:
    """Show only the warnings of runs inside: a search has many runs, whose first lines are much the same."""
    log = logging.getLogger("paa")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)
