"""The state of a run, written and taken up again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch.optim import Optimizer

from paa.config import to_dict
from paa.engine.distributed import Process
from paa.engine.run_folder import save_checkpoint
from paa.errors import CheckpointError, ConfigError
from paa.model.detector import Detector
from paa.weights import own
from paa.weights.read import load_file
from paa.weights.state import load_tensors


@dataclass
class State:
    """What a run must not change when it goes on, and what changes beside the model and the optimizer."""

    batch_size: int
    seed: int
    step: int = 0
    best: float = -1.0


def save(path: Path, detector: Detector, optimizer: Optimizer, state: State, process: Process) -> None:
    """Write a checkpoint that detects and that a run can go on from."""
    if process.first:
        training = {**vars(state), "optimizer": optimizer.state_dict()}
        save_checkpoint(path, own.write(detector.config, detector.names, detector.state_dict(), training))


def restore(path: Path, detector: Detector, optimizer: Optimizer, state: State, names: tuple[str, ...]) -> None:
    """Take a run up where its checkpoint left it.

    CheckpointError if it is no checkpoint of a run, ConfigError if it is of other classes, another model or optimizer.
    """
    content = load_file(path)
    if not own.recognises(content) or "training" not in content:
        raise CheckpointError(f"{path}: no training checkpoint of this project; to start from its weights use --init")
    if tuple(content["names"]) != names:
        raise ConfigError(f"{path}: was trained on classes {content['names']}, the data set has {list(names)}")
    theirs = content["config"]
    changed = [f"{k} {theirs.get(k)}, not {v}" for k, v in to_dict(detector.config).items() if theirs.get(k) != v]
    if changed:
        raise ConfigError(f"{path}: is of a model with {'; '.join(changed)}; give the options that its run was given")
    load_tensors(detector, content["model"], str(path))
    training = content["training"]
    try:
        optimizer.load_state_dict(training["optimizer"])
        alike = set(optimizer.defaults) <= set(optimizer.param_groups[0])
    except (ValueError, KeyError):  # other parameters, or other facts of each
        alike = False
    if not alike:
        raise ConfigError(f"{path}: is of a run with another optimizer or other frozen_stages")
    for name in ("batch_size", "seed"):
        if training[name] != getattr(state, name):
            raise ConfigError(f"{path}: is of a run with {name} {training[name]}, not {getattr(state, name)}")
    state.step, state.best = training["step"], training["best"]
