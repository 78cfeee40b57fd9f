"""From what a person sets, on the command line or in Python, to the configuration of a run."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass, replace
from numbers import Integral
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeVar, get_type_hints

import msgspec
import numpy as np

from paa.config import CardConfig, DataConfig, Recipe, RuntimeConfig, ValidationConfig, WeightsFormat
from paa.errors import ConfigError
from paa.recipes import AUTO, RECIPES, file_sets, find_recipe
from paa.training.schedule import fit_decays, for_batch
from paa.training.settings import TrainConfig

C = TypeVar("C")

Values = Mapping[str, Any]
"""Field of a configuration -> its value."""

_LENGTH = {"schedule.steps", "schedule.epochs", "batch_size"}
"""The fields that make a run longer or shorter than its recipe."""


def config_of_values(
    recipe_name: str,
    groups: Mapping[str, Values],
    *,
    output: str | Path | None = None,
    batch_size: int | None = None,
    accumulate: int | None = None,
    resume: str | Path | None = None,
    init: str | Path | None = None,
    init_format: WeightsFormat | None = None,
    assigner: str | None = None,
    teacher: str | Path | None = None,
) -> TrainConfig:
    """Return the configuration of a run of a recipe with other values in some fields; None: the recipe's.

    groups: the values of the fields of data, model, augment, schedule, validation, runtime and card; those of the card
    are not among the `named` fields. assigner: the text of a rule. ConfigError for an unknown field or a value of
    another type.
    """
    if not isinstance(recipe_name, (str, Path)):
        raise ConfigError(f"recipe must be a name or a file, got {recipe_name!r}")
    for name, expected, text in (
        ("output", "a path", output),
        ("resume", '"last" or a path', resume),
        ("init", "a name or a path", init),
        ("teacher", "a name or a path", teacher),
    ):
        if not isinstance(text, (str, Path, NoneType)):
            raise ConfigError(f"{name} must be {expected}, got {text!r}")
    for name, number in (("batch_size", batch_size), ("accumulate", accumulate)):
        if isinstance(number, bool) or not isinstance(number, (Integral, NoneType)):
            raise ConfigError(f"{name} must be a whole number, got {number!r}")
    batch_size, accumulate = (None if number is None else int(number) for number in (batch_size, accumulate))
    original = find_recipe(str(recipe_name))
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
    return build_config(
        str(recipe_name),
        Recipe(
            changed(original.model, groups.get("model", {}), "model."),
            changed(original.augment, groups.get("augment", {}), "augment."),
            changed(original.schedule, groups.get("schedule", {}), "schedule."),
            original.init,
            assigner=original.assigner if assigner is None else assigner,
            teacher=original.teacher if teacher is None else str(teacher),
        ),
        changed(DataConfig(Path()), groups.get("data", {}), "data."),
        changed(ValidationConfig(), groups.get("validation", {}), "validation."),
        changed(RuntimeConfig(), groups.get("runtime", {}), "runtime."),
        output=None if output is None else Path(output),
        batch_size=batch_size,
        accumulate=1 if accumulate is None else accumulate,
        resume="last" if resume == "last" else None if resume is None else Path(resume),
        init=None if init is None else str(init),
        init_format=init_format,
        card=changed(CardConfig(), groups.get("card", {}), "card."),
        named=[
            *(f"{group}.{name}" for group, values in groups.items() if group != "card" for name in values),
            *(name for name, value in single.items() if value is not None),
        ],
    )


def build_config(
    recipe_name: str,
    recipe: Recipe,
    data: DataConfig,
    validation: ValidationConfig,
    runtime: RuntimeConfig,
    *,
    output: Path | None = None,
    batch_size: int | None = None,
    accumulate: int = 1,
    resume: Path | Literal["last"] | None = None,
    init: str | None = None,
    init_format: WeightsFormat | None = None,
    card: CardConfig = CardConfig(),
    named: Collection[str] = (),
) -> TrainConfig:
    """Return the configuration of a run of the recipe `recipe_name`, changed by a person in the `named` fields.

    recipe: that recipe after these changes; decays that are not named keep their share of the run. named: see
    `TrainConfig`. output: by default the folder of the checkpoint that is resumed, or runs/RECIPE-DATA. batch_size: by
    default the one that the recipe is written for. ConfigError for an unknown recipe.
    """
    original = find_recipe(recipe_name)
    schedule_fields = [name.removeprefix("schedule.") for name in named if name.startswith("schedule.")]
    schedule = fit_decays(recipe.schedule, original.schedule, schedule_fields)
    recipe_batch = original.schedule.reference_batch
    if recipe_name != AUTO:  # whose batch is not decided yet
        images = recipe_batch if batch_size is None else batch_size
        schedule = for_batch(schedule, images, schedule_fields, recipe_batch)
    if output is None and isinstance(resume, Path):
        output = resume.parent
    named, auto = list(named), recipe_name == AUTO
    if recipe_name not in RECIPES:
        if _LENGTH.isdisjoint(named) and file_sets(recipe_name, "schedule", "warmup_steps"):
            named.append("schedule.warmup_steps")  # the file's is that of a run as long as this one
        recipe_name = Path(recipe_name).stem
    return TrainConfig(
        data=data,
        output=output or Path("runs") / f"{recipe_name}-{data.name}",
        recipe=replace(recipe, schedule=schedule),
        batch_size=recipe_batch if batch_size is None else batch_size,
        accumulate=accumulate,
        validation=validation,
        runtime=runtime if "runtime.precision" in named else replace(runtime, precision=original.precision),
        resume=resume,
        init=recipe.init if init is None else init,
        init_format=init_format,
        card=card,
        recipe_name=recipe_name,
        auto=auto,
        named=tuple(dict.fromkeys(named)),
    )


def changed(config: C, values: Mapping[str, Any], prefix: str) -> C:
    """Return a configuration with other values in some of its fields, each checked against the field's type.

    values: field -> value; for a field that is a configuration itself, another such mapping. Lists may stand for tuples
    and strings for paths. prefix: put before a field's name in messages, such as "schedule.". ConfigError for an
    unknown field or a value of another type.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{prefix.removesuffix('.')} cannot be {values!r}: expected a dictionary of its fields")
    known = [field.name for field in fields(config)]  # type: ignore[arg-type]
    hints = get_type_hints(type(config))
    new: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(f"unknown option {prefix}{name}; known: {', '.join(prefix + other for other in known)}")
        if isinstance(value, np.generic):
            value = value.item()
        old = getattr(config, name)
        if is_dataclass(old) and isinstance(value, Mapping):
            new[name] = changed(old, value, f"{prefix}{name}.")
            continue
        try:
            new[name] = msgspec.convert(value, hints[name], dec_hook=lambda kind, given: kind(given))
        except msgspec.ValidationError as error:
            raise ConfigError(f"{prefix}{name} cannot be {value!r}: {error}") from error
    return replace(config, **new)  # type: ignore[type-var]
