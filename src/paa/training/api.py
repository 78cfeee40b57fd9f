"""Training from Python: `paa.train`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paa.config import AssignerName, CardConfig, DataConfig, Recipe, RuntimeConfig, ValidationConfig, WeightsFormat
from paa.errors import ConfigError
from paa.recipes import find_recipe
from paa.runtime.distributed import start
from paa.training.options import build_config, changed
from paa.training.records import Listener, TrainResult, ignore
from paa.training.train import train as train_run

Values = Mapping[str, Any]
"""Field of a configuration -> its value."""

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
    assigner: AssignerName | None = None,
    teacher: str | Path | None = None,
    model: Values = _NONE,
    augment: Values = _NONE,
    schedule: Values = _NONE,
    validation: Values = _NONE,
    runtime: Values = _NONE,
    card: Values = _NONE,
    listener: Listener = ignore,
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
    assigner: the rule that decides which anchors are positive, a name in `paa.assigners.ASSIGNERS`; default: the
    recipe's, PAA's own in all named recipes. teacher: a trained detector by whose predictions the rule decides, of the
    same classes and anchors: a file, or a name.

    model, augment, schedule, validation, runtime, card: values for fields of `ModelConfig`, `AugmentConfig`,
    `ScheduleConfig`, `ValidationConfig`, `RuntimeConfig` and `CardConfig` (`paa.config`). What you set is
    used as it is; what you do not set is the recipe's, adapted to the batch size and the length of the run.

    listener: a function called with every record of the log (`print` shows them). When it returns `paa.STOP`, the run
    saves a checkpoint and ends; `resume="last"` continues such a run. In a program started by torchrun every
    process calls `train`, and the listener is called in the first.

    Raises a `PaaError`: DataError, ConfigError, CheckpointError or RunError.
    """
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
    original = find_recipe(recipe)
    single = {
        "output": output,
        "batch_size": batch_size,
        "accumulate": accumulate,
        "resume": resume,
        "init": init,
        "init_format": init_format,
        "assigner": assigner,
        "teacher": teacher,
    }
    config = build_config(
        recipe,
        Recipe(
            changed(original.model, groups["model"], "model."),
            changed(original.augment, groups["augment"], "augment."),
            changed(original.schedule, groups["schedule"], "schedule."),
            original.init,
            assigner=original.assigner if assigner is None else assigner,
            teacher=original.teacher if teacher is None else str(teacher),
        ),
        changed(DataConfig(Path()), groups["data"], "data."),
        changed(ValidationConfig(), groups["validation"], "validation."),
        changed(RuntimeConfig(), groups["runtime"], "runtime."),
        output=None if output is None else Path(output),
        batch_size=batch_size,
        accumulate=1 if accumulate is None else accumulate,
        resume="last" if resume == "last" else None if resume is None else Path(resume),
        init=None if init is None else str(init),
        init_format=init_format,
        card=changed(CardConfig(), card, "card."),
        named=[
            *(f"{group}.{name}" for group, values in groups.items() for name in values),
            *(name for name, value in single.items() if value is not None),
        ],
    )
    with start(config.runtime.device, config.runtime.process_timeout) as process:
        return train_run(config, process, listener)


def _with_shortcuts(group: str, values: Values, **shortcuts: Any) -> Values:
    """Return a group's values, with the keywords of `train` that set its fields; ConfigError for a field set twice."""
    given = {name: value for name, value in shortcuts.items() if value is not None}
    if twice := sorted(given.keys() & values.keys()):
        raise ConfigError(f"{group}.{twice[0]} is set twice: as {twice[0]} and in {group}")
    return {**values, **given}
