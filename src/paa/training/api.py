"""Training from Python: `paa.train`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from paa.assigners import text_of
from paa.config import WeightsFormat
from paa.core.assignment import Assigner
from paa.errors import ConfigError
from paa.runtime.distributed import start
from paa.training.options import Values, config_of_values
from paa.training.records import Listener, OnAssignment, TrainResult, ignore, ignore_assignment
from paa.training.train import train as train_run

_NONE: Values = {}


def train(
    data: str | Path | Values,
    recipe: str = "auto",
    *,
    output: str | Path | None = None,
    batch_size: int | None = None,
    accumulate: int | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    lr: float | None = None,
    device: str | None = None,
    resume: str | Path | None = None,
    init: str | Path | None = None,
    init_format: WeightsFormat | None = None,
    assigner: str | Assigner | None = None,
    teacher: str | Path | None = None,
    model: Values = _NONE,
    augment: Values = _NONE,
    schedule: Values = _NONE,
    validation: Values = _NONE,
    runtime: Values = _NONE,
    card: Values = _NONE,
    listener: Listener = ignore,
    on_assignment: OnAssignment = ignore_assignment,
) -> TrainResult:
    """Train a detector on a data set, as the command `paa train` does, and return where its checkpoints are.

        result = paa.train("my_images", "r18_nano", steps=2000, model={"min_size": 320}, runtime={"workers": 4})
        detector = paa.load(result.best)

    data: the data set, a COCO JSON file or the folder of a COCO, Pascal VOC or YOLO data set; or the fields of
    `DataConfig`, as {"path": "my_images", "val_split": "test"}. recipe: the named configuration to start from, or a
    file such as a run's recipe.json; "auto" decides from the data, the device and the weights at hand. output: folder
    of the run; default: runs/RECIPE-DATA. batch_size: images of a step, over all processes; default: the recipe's.
    accumulate: parts in which a step's batch is computed, to need less memory; default: 1. steps, epochs, lr: fields of
    the schedule. device: cpu, cuda, cuda:1, ...; default: a GPU if there is one.
    resume: "last" resumes the run in `output`, or starts it if it has no checkpoint yet; a path resumes from that
    checkpoint. init: weights to start from, a file of a detector or a backbone, or a name, as mmdet/r50_mstrain_3x,
    efficientnet_lite0, torchvision/NAME, timm/NAME (`paa weights` lists them); init_format: the format of that file.
    assigner: the rule that decides which anchors are positive: a function or another value with the interface of
    `paa.core.Assigner`, or a text: a name in `paa.assigners.ASSIGNERS`, also with parameters ("atss(per_level=5)"), or
    "my_rules.py:my_rule"; default: the recipe's, PAA's own in all named recipes. A run that is resumed has to be given
    it again. teacher: a trained detector by whose predictions the rule decides, of the same classes and anchors: a
    file, or a name.

    model, augment, schedule, validation, runtime, card: values for fields of `ModelConfig`, `AugmentConfig`,
    `ScheduleConfig`, `ValidationConfig`, `RuntimeConfig` and `CardConfig` (`paa.config`). What you set is
    used as it is; what you do not set is the recipe's, adapted to the batch size and the length of the run.

    listener: a function called with every record of the log (`print` shows them). When it returns `paa.STOP`, the run
    saves a checkpoint and ends; `resume="last"` continues such a run. In a program started by torchrun every
    process calls `train`, and the listener is called in the first.
    on_assignment: a function called in each step with what it trains on, a `paa.data.batch.Batch`, the head's
    `HeadOutputs` and the `Assignment`, in every process, and once for each part of a batch.

    Raises a `PaaError`: DataError, ConfigError, CheckpointError or RunError.
    """
    for name, value in (("listener", listener), ("on_assignment", on_assignment)):
        if not callable(value):
            raise ConfigError(f"{name} must be a function, got {value!r}")
    if isinstance(assigner, type):
        raise ConfigError(f"assigner must be a rule, got a class: {assigner.__name__}() makes a rule of it")
    if not (assigner is None or isinstance(assigner, str) or callable(assigner)):
        raise ConfigError(f"assigner must be a text or a function, got {assigner!r}")
    groups: dict[str, Values] = {
        "data": data if isinstance(data, Mapping) else {"path": data},
        "model": model,
        "augment": augment,
        "schedule": _with_shortcuts("schedule", schedule, steps=steps, epochs=epochs, lr=lr),
        "validation": validation,
        "runtime": _with_shortcuts("runtime", runtime, device=device),
    }
    if "path" not in groups["data"]:
        raise ConfigError("data.path is missing: the file or folder of the data set")
    text = assigner if assigner is None or isinstance(assigner, str) else text_of(assigner)
    config = config_of_values(
        recipe,
        {**groups, "card": card},
        output=output,
        batch_size=batch_size,
        accumulate=accumulate,
        resume=resume,
        init=init,
        init_format=init_format,
        assigner=text,
        teacher=teacher,
    )
    with start(config.runtime.device, config.runtime.process_timeout) as process:
        rule = None if assigner is None or isinstance(assigner, str) else assigner
        # the run sets torch's seed: the random numbers of the program that calls go on as if it had not
        with torch.random.fork_rng([process.device] if process.device.type == "cuda" else []):
            return train_run(config, process, listener, assigner=rule, on_assignment=on_assignment)


def _with_shortcuts(group: str, values: Values, **shortcuts: Any) -> Values:
    """Return a group's values, with the keywords of `train` that set its fields; ConfigError for a field set twice."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{group} cannot be {values!r}: expected a dictionary of its fields")
    given = {name: value for name, value in shortcuts.items() if value is not None}
    if twice := sorted(given.keys() & values.keys()):
        raise ConfigError(f"{group}.{twice[0]} is set twice: as {twice[0]} and in {group}")
    return {**values, **given}
