"""STUDY.toml: what a study compares, and what is the same for all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from paa.assigners.own import source_of
from paa.assigners.rule_text import RuleText, parse_rule
from paa.config import WeightsFormat, data_name
from paa.errors import ConfigError, one_line

Values = Mapping[str, Any]

_NAME = re.compile(r"[\w.+-]+")
_NAMELESS = "; give a name beside the assigner, as name = 'my-rule'"
_DECIDED = {"schedule": ("epochs", "steps"), "runtime": ("seed", "max_hours")}
"""Fields that belong to a study's own keys, or have no meaning in one."""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    """The keys of the file; the tables of `data` and `rules` are checked one by one."""

    data: list[dict[str, Any]]
    rules: list[dict[str, Any]]
    recipe: str = "auto"
    init: str | None = None
    init_format: WeightsFormat | None = None
    batch_size: int | None = None
    epochs: list[float] = msgspec.field(default_factory=lambda: [12.0])
    seeds: list[int] = msgspec.field(default_factory=lambda: [0])
    model: dict[str, Any] = {}
    augment: dict[str, Any] = {}
    schedule: dict[str, Any] = {}
    validation: dict[str, Any] = {}
    runtime: dict[str, Any] = {}


@dataclass(frozen=True)
class DataSet:
    """A data set by its name in the study. values: fields of `DataConfig`; written: the same as the file has them."""

    name: str
    values: Values
    written: Values


@dataclass(frozen=True)
class Rule:
    """A rule by its name in the study. text: what makes it; written: the same as the file has it.

    is_code: whether it is not one of `paa.assigners`; source: then the file that it is in, if there is one.
    """

    name: str
    text: str
    written: str
    is_code: bool
    source: Path | None


@dataclass(frozen=True)
class Study:
    """What is compared: every rule on every data set, for every budget and seed.

    recipe, init, init_format, batch_size, groups: what is the same for all, as for `config_of_values`; groups: fields
    of model, augment, schedule, validation and runtime. epochs: the budgets.
    """

    file: Path
    data: tuple[DataSet, ...]
    rules: tuple[Rule, ...]
    epochs: tuple[float, ...]
    seeds: tuple[int, ...]
    recipe: str
    init: str | None
    init_format: WeightsFormat | None
    batch_size: int | None
    groups: Mapping[str, Values]

    @property
    def name(self) -> str:
        """The name of the study: its file's."""
        return self.file.stem


def read_study(path: Path, data: Path | None = None) -> Study:
    """Return the study in a file; data: the folder to which paths of data sets are relative, by default the file's.

    ConfigError, which names the file and what is wrong in it, for a key that is unknown or of another type.
    """
    try:
        file = msgspec.toml.decode(path.read_bytes(), type=_File)
    except OSError as error:
        raise ConfigError(f"{path}: no such file of a study ({error.strerror})") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: no study: {one_line(error)}{_hint(str(error))}") from error
    folder = path.resolve().parent
    lists = (file.data, file.rules, file.epochs, file.seeds)
    for name, values in zip(("data", "rules", "epochs", "seeds"), lists):
        if not values:
            raise ConfigError(f"{path}: {name}: expected at least one")
    groups = {name: getattr(file, name) for name in ("model", "augment", "schedule", "validation", "runtime")}
    for group, names in _DECIDED.items():
        if taken := [name for name in names if name in groups[group]]:
            raise ConfigError(f"{path}: {group}.{taken[0]} cannot be set: a study has epochs and seeds of its own")
    if not groups["validation"]:  # nothing is chosen by it: what is reported are the last step's numbers
        groups["validation"] = {"batch_size": 0}
    init, recipe = file.init, file.recipe
    if init is not None and (folder / init).is_file():
        init = str(folder / init)
    if (folder / recipe).is_file():
        recipe = str(folder / recipe)
    try:
        return Study(
            path,
            _unique(tuple(_data_set(each, folder if data is None else data.resolve()) for each in file.data)),
            _unique(tuple(_rule(each, folder) for each in file.rules)),
            tuple(dict.fromkeys(file.epochs)),
            tuple(dict.fromkeys(file.seeds)),
            recipe,
            init,
            file.init_format,
            file.batch_size,
            groups,
        )
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _hint(said: str) -> str:
    """Return what the decoder's message leaves open."""
    if "unknown field" in said:
        return f"; known: {', '.join(_File.__struct_fields__)}"
    return "; a list is written in brackets, as [12]" if "Expected `array`" in said else ""


def _data_set(written: dict[str, Any], folder: Path) -> DataSet:
    values = {name: value for name, value in written.items() if name != "name"}
    if not isinstance(values.get("path"), str):
        raise ConfigError("data: expected a path in every table")
    for key in ("path", "images", "val_data", "val_images"):
        if isinstance(values.get(key), str):
            values[key] = str(folder / values[key])
    if isinstance(allowed := values.get("allow_outside"), list) and all(isinstance(each, str) for each in allowed):
        values["allow_outside"] = [str(folder / each) for each in allowed]
    # never a share of the images to train on, which all runs train on
    values.setdefault("val_split", "val")
    path = Path(values["path"])
    return DataSet(_checked(written.get("name", data_name(path)), "data"), values, written)


def _rule(given: dict[str, Any], folder: Path) -> Rule:
    parameters = {key: value for key, value in given.items() if key not in ("name", "assigner")}
    if not isinstance(given.get("assigner"), str):
        raise ConfigError("rules: expected an assigner in every table, as assigner = 'atss'")
    parsed = parse_rule(given["assigner"])
    written = RuleText(parsed.name, {**parsed.parameters, **parameters})
    absolute = written
    if written.is_code and (place := written.name.rpartition(":"))[0].endswith(".py"):
        absolute = RuleText(f"{folder / place[0]}:{place[2]}", written.parameters)
    source = source_of(absolute) if written.is_code else None
    name = _checked(given.get("name", given["assigner"]), "rules", "" if "name" in given else _NAMELESS)
    return Rule(name, str(absolute), str(written), written.is_code, source)


def _checked(name: object, where: str, hint: str = "") -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or set(name) <= {"."}:
        raise ConfigError(f"{where}: name {name!r}: expected letters, digits, and any of . + - _{hint}")
    return name


def _unique(named: tuple[Any, ...]) -> tuple[Any, ...]:
    names = [each.name for each in named]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two have the name {name!r}: give each a name of its own")
    return named
