"""The search: trial after trial, until there are enough or the time is over; the best recipe so far is always there."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from paa.config import flat, to_dict
from paa.errors import ConfigError, RunError, one_line
from paa.recipes import find_recipe
from paa.runtime.distributed import Process
from paa.runtime.files import write_text
from paa.runtime.folder_lock import folder_lock
from paa.runtime.stop_signals import StoppedError, StopSignals
from paa.training.many_runs import make_folder_of_runs, warnings_only
from paa.training.records import Listener, ignore
from paa.training.settings import TrainConfig
from paa.tuning.base import Base, find_base
from paa.tuning.run_trial import run_trial
from paa.tuning.study import JUDGED_ON, TRAINED_ON, FinishedTrial, Trial, TuneStudy, best_of, import_optuna

log = logging.getLogger("paa")

RECIPE = "recipe.json"
_MOST_FAILURES = 5
"""Trials that fail one after the other before the search gives up."""


@dataclass(frozen=True)
class TuneConfig:
    """The configuration of a search.

    train: what `paa train` would do; fields that are named are not tuned, and `runtime.max_hours` is the time of the
    search. trials: how many there shall be in the end, with those of earlier calls. hours: no trial is begun after
    them. trial_steps: length of a trial, by default that of a run. prune: stop trials that fall behind.
    """

    train: TrainConfig
    trials: int = 20
    hours: float | None = None
    trial_steps: int | None = None
    prune: bool = True

    def __post_init__(self) -> None:
        """Raise ConfigError for an invalid value."""
        if self.trials < 1:
            raise ConfigError(f"--trials must be at least 1, got {self.trials}")
        if self.hours is not None and not self.hours > 0:
            raise ConfigError(f"--hours must be above 0, got {self.hours}")
        if self.trial_steps is not None and self.trial_steps < 1:
            raise ConfigError(f"--trial-steps must be at least 1, got {self.trial_steps}")


@dataclass(frozen=True)
class TuneResult:
    """What a search found.

    finished: all trials of the study that ended, in their order. best: the one of highest AP, None where none was done.
    recipe: the file with its recipe. importances: parameter -> its share, {} where trials are few. val_images: how many
    the trials were judged on; val_source: where these are from.
    """

    folder: Path
    finished: list[FinishedTrial]
    best: FinishedTrial | None
    recipe: Path
    importances: dict[str, float]
    val_images: int
    val_source: str


def tune(
    config: TuneConfig,
    process: Process,
    listener: Listener = ignore,
    signals: StopSignals | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> TuneResult:
    """Run trials until there are as many as the configuration says; the same call again goes on where it was stopped.

    listener: gets the records of all trials; where it returns `STOP`, that trial ends, and counts as done. Raises as
    `paa.training.train.train` does for the base; a later trial that fails, as by a loss that is not finite, is written
    down as failed. signals: those that end the search early, as does `runtime.max_hours` of the base: StoppedError is
    raised, and the trial that was running goes on in the next call, from a checkpoint of its last step.
    """
    started, folder = clock(), config.train.output
    signals = signals or StopSignals()
    import_optuna()
    with signals.may_interrupt():
        base = find_base(config.train, process)
    make_folder_of_runs(folder)
    with folder_lock(folder):
        study = TuneStudy(folder, base.space, _settings(base, config), config.train.runtime.seed)
        _log_start(base, config, study)
        _write_best(base, config, study, process)  # an earlier call may have ended before it had
        failures = 0
        while len(study.finished()) < config.trials:
            hours = (clock() - started) / 3600
            if config.hours is not None and hours > config.hours:
                log.info(f"{config.hours:g} hours are over: the same command goes on")
                break
            left = _hours_left(config, hours)
            trial = study.begin()
            try:
                with warnings_only():
                    trial_config = _within(base.of_trial(trial.values, config.trial_steps), left)
                    state, ap = run_trial(trial_config, trial, folder, process, config.prune, listener, signals)
                study.finish(trial, state, ap)
                failures = 0
            except RunError as error:  # as where a high learning rate makes a loss infinite
                if not study.finished():  # the recipe as it is, which the next call tries again
                    raise
                study.finish(trial, "failed")
                failures += 1
                if failures == _MOST_FAILURES:
                    raise
                log.warning(f"{trial.folder} failed: {one_line(error)}")
            if _log_end(study, trial):
                _write_best(base, config, study, process)
        finished = study.finished()
        return TuneResult(
            folder,
            finished,
            best_of(finished),
            folder / RECIPE,
            study.importances(),
            len(base.val_index),
            base.val_source,
        )


def _hours_left(config: TuneConfig, hours: float) -> float | None:
    """Return what is left of the search's time after these hours, None for no limit; StoppedError where it is over."""
    if config.train.runtime.max_hours is None:
        return None
    left = config.train.runtime.max_hours - hours
    if left <= 0:
        raise StoppedError
    return left


def _within(config: TrainConfig, hours: float | None) -> TrainConfig:
    """Return the configuration of a run that ends within this time."""
    return replace(config, runtime=replace(config.runtime, max_hours=hours))


def _settings(base: Base, config: TuneConfig) -> dict[str, object]:
    """Return what must be the same where a search goes on, as its trials could not be compared otherwise."""
    return {
        **flat(to_dict(base.recipe)),
        "batch size": base.config.batch_size,
        "images to train on": len(base.index),
        "objects": len(base.index.boxes),
        "images to judge on": len(base.val_index),
        TRAINED_ON: base.index.checksum(),
        JUDGED_ON: base.val_index.checksum(),
        "validation.voting": base.config.validation.voting,
        "validation.interval": base.config.validation.interval,
        "validation.patience": base.config.validation.patience,
        "runtime.seed": base.config.runtime.seed,
        "trial steps": config.trial_steps,
    }


def _log_start(base: Base, config: TuneConfig, study: TuneStudy) -> None:
    names = ", ".join(parameter.name for parameter in base.space)
    log.info(
        f"trials train on {len(base.index)} images and are judged on {len(base.val_index)}: {base.val_source}; "
        "no other images are looked at"
    )
    log.info(f"tuned: {names}; trial 0 is the recipe as it is, and options that are named stay")
    if done := len(study.finished()):
        log.info(f"trials done before: {done}{', and the one that was stopped is tried again' * bool(study.retried)}")


def _log_end(study: TuneStudy, trial: Trial) -> bool:
    """Log how a trial ended; return whether it is the best one so far."""
    finished = study.finished()
    this, best = next(each for each in finished if each.number == trial.number), best_of(finished)
    if best is None:
        return False
    ap = "failed" if this.ap is None else f"AP {100 * this.ap:.1f}{' when it was stopped' * (this.state == 'pruned')}"
    log.info(f"{this.folder}: {ap}; the best is {best.folder} with {100 * (best.ap or 0.0):.1f}")
    return best.number == trial.number


def _write_best(base: Base, config: TuneConfig, study: TuneStudy, process: Process) -> None:
    """Write the recipe of the best trial so far, if one was done."""
    best = best_of(study.finished())
    if best is None:
        return
    written, own = base.config.output / RECIPE, base.config.output / best.folder / RECIPE
    if written.exists() and not own.exists():
        log.warning(f"{own}: not there any more; {written}, which was written after that trial, stays")
        return
    recipe = find_recipe(str(own))
    if config.trial_steps is not None:
        with warnings_only():
            recipe = base.full_recipe(recipe, best.values, process)
    write_text(written, json.dumps(to_dict(recipe), indent=2) + "\n")
