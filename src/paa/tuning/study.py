"""The trials of a search and what they found, in a database in its folder: Optuna's study, and how it goes on."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from paa.config import Recipe, RuntimeConfig, ValidationConfig, flat, to_dict
from paa.errors import ConfigError, RunError, one_line
from paa.runtime.extras import not_installed
from paa.training.run_config import check_same
from paa.tuning.space import Parameter, Value, Values

if TYPE_CHECKING:
    import optuna

DATABASE = "tune.db"
_NAME = "paa"
_FEW = 15
"""Trials to the end before which nothing is said of the importance of parameters."""
_FAILED, _SETTINGS = "failed", "settings"
TRAINED_ON, JUDGED_ON = "checksum of the images to train on", "checksum of the images to judge on"
"""Settings that searches of earlier versions lack."""
State = Literal["done", "pruned", "failed"]


@dataclass(frozen=True)
class FinishedTrial:
    """A trial that ended. ap: at its last validation, 0..1, None where it failed. seconds: that it took."""

    number: int
    folder: str
    state: State
    ap: float | None
    values: Values
    seconds: float


class Trial:
    """A trial that is to be run: its values, the folder of its run, and what it reports."""

    def __init__(self, trial: optuna.Trial, values: Values, folder: str) -> None:
        self.number, self.values, self.folder = trial.number, values, folder
        self._trial = trial
        self._reported: set[int] = set()

    def report(self, aps: Sequence[float]) -> bool:
        """Take the APs of the trial's validations so far; return whether it is worse than half of those before."""
        for i, ap in enumerate(aps):
            if i not in self._reported:
                self._trial.report(ap, i)
        self._reported.update(range(len(aps)))
        return self._trial.should_prune()

    def mark_failed(self) -> None:
        """Note that the trial has no result."""
        self._trial.set_user_attr(_FAILED, True)


class TuneStudy:
    """The study in a folder: begun, or found there, with the trials that a killed process left queued again."""

    def __init__(self, folder: Path, space: Sequence[Parameter], about: Mapping[str, Any], seed: int) -> None:
        """about: what must be the same where the study goes on; ConfigError where it is not, or without Optuna.

        RunError for a file in the database's place that is none.
        """
        optuna = import_optuna()
        self._states = optuna.trial.TrialState
        path = folder / DATABASE
        self._study = _open(path)
        before = self._study.trials
        # the seed alone would draw the first trials' values again
        self._study.sampler = optuna.samplers.TPESampler(seed=seed + len(before), n_startup_trials=6)
        self.space = tuple(space)
        now = _plain({**about, **{f"tuned {p.name}": list(p.choices) or [p.low, p.high] for p in space}})
        if not before:
            self._study.set_user_attr(_SETTINGS, now)
            self._study.enqueue_trial({p.name: p.base for p in space})
        else:
            # a setting that is newer than the search had the value that is the default now
            groups = {"validation": to_dict(ValidationConfig()), "runtime": to_dict(RuntimeConfig())}
            defaults = _plain(flat({**to_dict(Recipe()), **groups}))
            defaults = {name: value for name, value in defaults.items() if name in now}
            saved = {**defaults, **self._study.user_attrs.get(_SETTINGS, {})}
            names = [name for name in {**now, **saved} if name in saved or name not in (TRAINED_ON, JUDGED_ON)]
            check_same({name: (saved.get(name), now.get(name)) for name in names}, str(path))
        self.retried = self._put_back()

    def _put_back(self) -> int:
        """Mark the trials of a killed process as failed, queue them again in their folders, and return how many."""
        left = self._study.get_trials(states=(self._states.RUNNING,))
        for trial in left:
            values = trial.params or trial.system_attrs.get("fixed_params")
            waiting = {_folder_of(each) for each in self._study.get_trials(states=(self._states.WAITING,))}
            if values and _folder_of(trial) not in waiting:  # first, as this process may end in between
                self._study.enqueue_trial(values, user_attrs={"folder": _folder_of(trial)})
            self._study.tell(trial.number, state=self._states.FAIL)
        return len(left)

    def begin(self) -> Trial:
        """Return the next trial: the base, one that was killed, or one whose values Optuna proposes."""
        trial = self._study.ask()
        values: dict[str, Value] = {}
        for p in self.space:
            if p.choices:
                chosen: Any = trial.suggest_categorical(p.name, list(p.choices))
                values[p.name] = chosen
            else:
                values[p.name] = trial.suggest_float(p.name, p.low, p.high, log=True)
        return Trial(trial, values, _folder_of(trial))

    def finish(self, trial: Trial, state: State, ap: float | None = None) -> None:
        """Write down how a trial ended."""
        if state == "done":
            self._study.tell(trial.number, 0.0 if ap is None else ap)
            return
        if state == "failed":  # for Optuna stopped too: of failed trials it learns nothing, and proposes more like them
            trial.mark_failed()
        self._study.tell(trial.number, state=self._states.PRUNED)

    def finished(self) -> list[FinishedTrial]:
        """Return the trials that ended by themselves, in their order."""
        trials = []
        for t in self._study.get_trials(states=(self._states.COMPLETE, self._states.PRUNED)):
            state: State = "done" if t.state == self._states.COMPLETE else "pruned"
            if _FAILED in t.user_attrs:
                state = "failed"
            last = t.intermediate_values.get(t.last_step) if t.last_step is not None else None
            ap = None if state == "failed" else last if t.value is None else t.value
            seconds = t.duration.total_seconds() if t.duration else 0.0
            trials.append(FinishedTrial(t.number, _folder_of(t), state, ap, dict(t.params), seconds))
        return trials

    def importances(self) -> dict[str, float]:
        """Return how much each parameter mattered, as shares of 1; {} as long as few trials are done."""
        optuna = import_optuna()
        done = self._study.get_trials(states=(self._states.COMPLETE,))
        if len(done) < _FEW or len({trial.value for trial in done}) < 2:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # which it was before Optuna 5
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            return dict(optuna.importance.get_param_importances(self._study, evaluator=evaluator))


def best_of(finished: Sequence[FinishedTrial]) -> FinishedTrial | None:
    """Return the trial of highest AP among those that were done, the first where several have it; None without one."""
    done = [trial for trial in finished if trial.state == "done"]
    return max(done, key=lambda trial: trial.ap or 0.0, default=None)


def _folder_of(trial: optuna.Trial | optuna.trial.FrozenTrial) -> str:
    """Return the name of the folder of a trial's run: a trial that is tried again goes on in the first one's."""
    return str(trial.user_attrs.get("folder") or f"trial-{trial.number:03d}")


def import_optuna() -> Any:
    """Return the package; ConfigError, which names the extra, where it is missing."""
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(f"paa tune: {not_installed('optuna', 'tune')}") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _open(path: Path) -> optuna.Study:
    """Return the study in a database, made if the file does not exist; RunError if that is no such database."""
    package = import_optuna()
    from sqlalchemy.exc import SQLAlchemyError

    # two validations before any trial is stopped, and four trials to compare with
    pruner = package.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2)
    try:
        storage = package.storages.RDBStorage(f"sqlite:///{path.absolute()}")
        study: optuna.Study = package.create_study(
            study_name=_NAME, storage=storage, direction="maximize", load_if_exists=True, pruner=pruner
        )
    except (SQLAlchemyError, package.exceptions.OptunaError, RuntimeError) as error:  # the last: of another version
        raise RunError(f"{path}: cannot be used: {one_line(error)}; give another --output") from error
    return study


def _plain(values: Mapping[str, Any]) -> Any:
    """Return values as they are after JSON, in which Optuna keeps them."""
    return json.loads(json.dumps(values))
