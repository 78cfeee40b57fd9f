"""The state of a run, written and taken up again."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

from paa.config import ModelConfig, Recipe, to_dict
from paa.errors import CheckpointError, ConfigError
from paa.model.detector import Detector
from paa.runtime.distributed import Process
from paa.training.run_folder import save_checkpoint
from paa.weights.files import read_file
from paa.weights.formats import own
from paa.weights.read import read_weights
from paa.weights.state import Checkpoint, load_tensors

_MAY_CHANGE = ("schedule.steps", "schedule.epochs", "schedule.decays")  # a run may be made longer or shorter


@dataclass
class State:
    """What changes during a run, beside the model and the optimizer."""

    step: int = 0
    best: float = -1.0
    schedule: dict[str, Any] | None = None
    """The fields of the run's `Schedule`, by which a resumed run sees whether its learning rate jumps."""
    validation_due: bool = False
    """The evaluation of this step is not over: a run that goes on from here begins with it."""


def save(
    path: Path,
    evaluated: Detector,
    trained: Detector,
    optimizer: Optimizer,
    state: State,
    told: dict[str, Any],
    process: Process,
) -> None:
    """Write a checkpoint that detects and that a run can go on from, in the first process.

    evaluated: the trained detector, or the average of its weights; the trained one's are then kept for going on.
    told: what the run was told, which must be the same when it goes on.
    """
    if process.first:
        training = {**vars(state), "told": told, "optimizer": optimizer.state_dict()}
        if evaluated is not trained:
            training["weights"] = trained.state_dict()
        save_checkpoint(path, own.write(evaluated.config, evaluated.names, evaluated.state_dict(), training))


def model_of(path: Path, asked: ModelConfig, chosen: Collection[str]) -> ModelConfig:
    """Return the model that a run's checkpoint is of; ConfigError if one of the `chosen` fields of `asked` differs."""
    model = read_weights(path, "paa").config
    changed = [
        f"{n} {getattr(model, n)}, not {getattr(asked, n)}" for n in chosen if getattr(model, n) != getattr(asked, n)
    ]
    if changed:
        raise ConfigError(f"{path}: its run had {'; '.join(changed)}; to go on give it the same options and data")
    return model


def restore(
    path: Path, evaluated: Detector, trained: Detector, optimizer: Optimizer, state: State, told: dict[str, Any]
) -> None:
    """Take a run up where its checkpoint left it; the detectors are as in `save`.

    CheckpointError if it is no checkpoint of a run, ConfigError if that run was told anything else.
    """
    content = read_file(path).values
    if not own.recognises(Checkpoint(str(path), content)) or "training" not in content:
        raise CheckpointError(f"{path}: no training checkpoint of this project; to start from its weights use --init")
    if tuple(content["names"]) != trained.names:
        raise ConfigError(f"{path}: was trained on classes {content['names']}, the data set has {list(trained.names)}")
    training = content["training"]
    # what the run was not told, because it is older than the option, was as it is by default
    theirs, ours = {**_flat(to_dict(Recipe())), **_flat(own.current_names(training["told"]))}, _flat(told)
    for name in _MAY_CHANGE:
        ours.pop(name, None)
    changed = [f"{name} {theirs.get(name)}, not {value}" for name, value in ours.items() if theirs.get(name) != value]
    if changed:
        raise ConfigError(f"{path}: its run had {'; '.join(changed)}; to go on give it the same options and data")
    load_tensors(evaluated, content["model"], str(path))
    if evaluated is not trained:
        load_tensors(trained, training["weights"], str(path))
    try:
        optimizer.load_state_dict(training["optimizer"])
    except ValueError as error:
        raise CheckpointError(
            f"{path}: another version's optimizer ({error}); start from its weights by --init"
        ) from error
    state.step, state.best = training["step"], training["best"]
    state.schedule = None if training.get("schedule") is None else own.current_names(training["schedule"])
    state.validation_due = training.get("validation_due", False)  # older checkpoints were written after it


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested dictionaries as one, with names like `model.backbone`."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat.update(_flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value})
    return flat
