"""All that a checkpoint of a run holds, in one object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from paa.errors import CheckpointError, ConfigError
from paa.model.detector import Detector
from paa.training.average import WeightAverage
from paa.training.run_config import VALIDATION, check_run_config
from paa.training.schedule import Schedule
from paa.weights.files import read_file
from paa.weights.formats import own
from paa.weights.state import Checkpoint, load_tensors

TO_RESUME = ("last.pt", "best.pt")
"""Checkpoints in a run's folder that it can be resumed from, the one that is meant first."""

_PARTS = ("step", "best", "run_config", "optimizer")
"""What a checkpoint of any version has of its run."""


@dataclass
class TrainingState:
    """The weights of a run, its optimizer, and how far it has come.

    average: of the weights, None in a run without one. run_config: the settings that must be the same when the run
    is resumed. best, best_step: highest AP of a validation so far, and its step. since_best: how many validations
    came after that one; 0 as long as no AP was above 0. validation_due: whether the validation of this step is not
    finished; a run that is resumed here begins with it. bad_steps: how many steps were skipped, as their loss or
    gradient was not finite; bad_in_a_row: how many of them are the last ones.
    """

    detector: Detector
    average: WeightAverage | None
    optimizer: Optimizer
    schedule: Schedule
    run_config: dict[str, Any]
    step: int = 0
    best: float = -1.0
    best_step: int = 0
    since_best: int = 0
    validation_due: bool = False
    bad_steps: int = 0
    bad_in_a_row: int = 0

    @property
    def evaluated(self) -> Detector:
        """The detector that is evaluated and saved: the average of the trained one's weights, if there is one."""
        return self.detector if self.average is None else self.average.detector

    def state_dict(self) -> dict[str, Any]:
        """Return the content of a checkpoint, both for detection and for resuming the run.

        Where weights are averaged, the average is the checkpoint's model, and the trained weights are stored beside it.
        """
        training = {
            "step": self.step,
            "best": self.best,
            "best_step": self.best_step,
            "since_best": self.since_best,
            "schedule": asdict(self.schedule),
            "validation_due": self.validation_due,
            "bad_steps": self.bad_steps,
            "bad_in_a_row": self.bad_in_a_row,
            "run_config": self.run_config,
            "optimizer": self.optimizer.state_dict(),
        }
        if self.average is not None:
            training["weights"] = self.detector.state_dict()
        return own.write(self.evaluated.config, self.evaluated.names, self.evaluated.state_dict(), training)

    def load_state_dict(self, content: Mapping[str, Any], source: str) -> None:
        """Continue from a checkpoint, also one of an earlier version; source: its file, for messages.

        `run_config` stays; CheckpointError if the content is no checkpoint of a run, ConfigError if that run had other
        settings.
        """
        _check_is_of_run(content, source)
        if tuple(content["names"]) != self.detector.names:
            classes = f"{content['names']}, the data set has {list(self.detector.names)}"
            raise ConfigError(f"{source}: was trained on classes {classes}")
        training = own.current_names(content["training"])
        check_run_config(training["run_config"], self.run_config, source)
        if VALIDATION in training["run_config"]:  # also for a part of the run that validates nothing
            self.run_config.setdefault(VALIDATION, training["run_config"][VALIDATION])
        load_tensors(self.evaluated, content["model"], source)
        if self.average is not None:
            load_tensors(self.detector, training["weights"], source)
        try:
            self.optimizer.load_state_dict(training["optimizer"])
        except ValueError as error:
            raise CheckpointError(
                f"{source}: another version's optimizer ({error}); to start from its weights use --init"
            ) from error
        self._lay_out_like_parameters()
        for group in self.optimizer.param_groups:
            group["fused"] = True  # earlier versions' SGD was not, and could not skip a step
        self.step, self.best = training["step"], training["best"]
        self.bad_steps, self.bad_in_a_row = training.get("bad_steps", 0), training.get("bad_in_a_row", 0)
        self.since_best, self.best_step = training.get("since_best", 0), training.get("best_step", 0)
        if training.get("schedule") is not None:  # the oldest checkpoints have none
            self.schedule = Schedule(**{**training["schedule"], "decays": tuple(training["schedule"]["decays"])})
        self.validation_due = training.get("validation_due", False)  # older checkpoints: written after validating

    def forget_best(self) -> None:
        """Look for the best checkpoint anew, as in a folder that has none."""
        self.best, self.best_step, self.since_best = -1.0, 0, 0

    def _lay_out_like_parameters(self) -> None:
        """Give the optimizer's tensors the memory layout of their parameters: fused steps go through both in order.

        A run may be resumed with another layout (channels-last or not) than that of its checkpoint.
        """
        for parameter, values in self.optimizer.state.items():
            for name, value in values.items():
                if torch.is_tensor(value) and value.shape == parameter.shape:
                    values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def read_run_config(path: Path) -> dict[str, Any]:
    """Return the settings of the run that a checkpoint is of, under today's names; CheckpointError if it has none."""
    content = read_file(path, TO_RESUME).values
    _check_is_of_run(content, str(path))
    saved: dict[str, Any] = own.current_names(content["training"])["run_config"]
    return saved


def _check_is_of_run(content: Mapping[str, Any], source: str) -> None:
    if not own.recognises(Checkpoint(source, content)) or "training" not in content:
        raise CheckpointError(f"{source}: no training checkpoint of this project; to start from its weights use --init")
    training = content["training"]
    missing = [name for name in _PARTS if not isinstance(training, Mapping) or name not in own.current_names(training)]
    if missing:
        raise CheckpointError(f"{source}: has no training.{missing[0]}; to start from its weights use --init")
