"""The settings that must be the same when a run is resumed: what a checkpoint records of them, and how they compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paa.config import DataConfig, Precision, Recipe, flat, to_dict
from paa.data.index import DatasetIndex
from paa.errors import ConfigError
from paa.training.settings import TrainConfig
from paa.training.teacher import teacher_identity

NAMED = "named fields of the schedule"
"""The setting that says which values of a run's schedule a person set, and are used as they are."""

_LR = "schedule.lr"

CHECKSUM, VALIDATION = "checksum of the data set", "validation"
"""Settings that checkpoints of earlier versions lack."""

_MAY_CHANGE = ("schedule.steps", "schedule.epochs", "schedule.decays", NAMED)
"""Settings that may differ when a run is resumed, so that it can be made longer or shorter."""


def make_run_config(
    config: TrainConfig, index: DatasetIndex, val_index: DatasetIndex | None, precision: Precision
) -> dict[str, object]:
    """Return the settings that must be the same when the run is resumed; its checkpoints hold them.

    The validation's are among them, as the best AP so far holds for the same images alone; it may be switched off.
    """
    validation = {}
    if val_index is not None:
        validation[VALIDATION] = {
            "images": len(val_index),
            "annotations": len(val_index.boxes),
            "voting": config.validation.voting,
            CHECKSUM: val_index.checksum(),
        }
    return {
        **to_dict(config.recipe),
        "batch_size": config.batch_size,
        "seed": config.runtime.seed,
        "precision": precision,
        "init": config.init,
        "teacher": teacher_identity(config.recipe.teacher),
        "val_fraction": config.data.val_fraction,
        NAMED: sorted(config.named_in("schedule")),
        "images of the data set": len(index),
        "annotations of the data set": len(index.boxes),
        CHECKSUM: index.checksum(),
        **validation,
    }


def check_run_config(saved: Mapping[str, Any], now: Mapping[str, Any], source: str) -> None:
    """Raise ConfigError, which names what differs, unless a checkpoint's run had the settings that the run has now."""
    # a setting that is newer than the checkpoint had at that time the value that is the default now
    defaults = {**flat(to_dict(Recipe())), "val_fraction": DataConfig.val_fraction}
    theirs, ours = {**defaults, **flat(saved)}, flat(now)
    names = dict.fromkeys([*ours, *(name for name in flat(saved) if name.startswith("augment.tiles."))])
    unknown = [n for n in names if n.startswith((CHECKSUM, f"{VALIDATION}.")) and n not in theirs]
    may_differ = {*_MAY_CHANGE, *unknown}
    settings = {n: (theirs.get(n), ours.get(n)) for n in names if n not in may_differ}
    if NAMED in theirs and theirs[_LR] == ours[_LR]:
        settings[_LR] = _rate(theirs), _rate(ours)
    check_same(settings, source)


def _rate(settings: Mapping[str, Any]) -> str:
    """Return a run's learning rate, and the batch that it is scaled from where no person named it."""
    reference = settings["schedule.reference_batch"]
    scaled = "lr" not in settings[NAMED] and settings["batch_size"] != reference
    return f"{settings[_LR]}" + (f", scaled from batches of {reference}" if scaled else "")


def check_same(settings: Mapping[str, tuple[Any, Any]], source: str) -> None:
    """Raise ConfigError, which names what differs, for settings of a run that differ from those it is resumed with.

    settings: name -> (in the checkpoint `source`, now).
    """
    changed = [f"{name} {saved}, not {now}" for name, (saved, now) in settings.items() if saved != now]
    if changed:
        raise ConfigError(f"{source}: its run had {'; '.join(changed)}; to resume it, give the same options and data")
