"""One trial: an ordinary training run in a folder of its own, which is stopped where it falls behind."""

from __future__ import annotations

from pathlib import Path

from paa.runtime.distributed import Process
from paa.runtime.stop_signals import StopSignals
from paa.training.many_runs import train_or_go_on
from paa.training.records import STOP, Listener, Record
from paa.training.run_folder import RunFolder
from paa.training.settings import TrainConfig
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

    result = train_or_go_on(config, run.path, process, listen, signals)
    ap = None if result.validation is None else result.validation["AP"]
    return ("pruned" if pruned else "done"), ap
