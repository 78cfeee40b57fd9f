"""The help of a command: the options that people use on one screen with --help, every option with --help-all."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Collection
from typing import Annotated, Any

import tyro

HELP, HELP_ALL = ("-h", "--help"), "--help-all"


def show_help(command: type, prog: str, usual: Collection[str] | None, default: Any = None) -> None:
    """Print the help of a command, and end the program with code 0.

    command: a dataclass. usual: the fields to show, those of a nested configuration as `schedule.epochs`; None: all.
    default: an instance with the defaults to show; None: those of the class.
    """
    shown = _shown(_defaults(command) if default is None else default, usual)
    description = inspect.cleandoc(typing.cast(str, command.__doc__))
    if usual is not None:
        description += f"\n\n{prog} {HELP_ALL} shows every option."
    # without DisallowNone, an option that may be left out would be of the type {None}|PATH
    config = (tyro.conf.DisallowNone, tyro.conf.PositionalMetavarFromFieldName)
    tyro.cli(type(shown), args=[HELP[1]], default=shown, prog=prog, description=description, config=config)


def _defaults(command: type) -> Any:
    """Return an instance of a dataclass, with tyro's mark for a missing value in each field that must be given."""
    required = [
        field.name
        for field in dataclasses.fields(command)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    return command(**dict.fromkeys(required, tyro.MISSING))


def _shown(values: Any, usual: Collection[str] | None, prefix: str = "") -> Any:
    """Return a copy of a dataclass's instance whose type hides the fields that are not `usual` from tyro's help."""
    kind = type(values)
    hints = typing.get_type_hints(kind, include_extras=True)
    fields: list[tuple[str, Any]] = []
    copied: dict[str, Any] = {}
    for field in dataclasses.fields(values):
        name, value, hint = prefix + field.name, getattr(values, field.name), hints[field.name]
        nested = dataclasses.is_dataclass(value)
        if nested:
            value = _shown(value, usual, f"{name}.")
            parts = (type(value), *typing.get_args(hint)[1:])
            hint = typing.cast(Any, Annotated)[parts] if len(parts) > 1 else parts[0]
        elif value is None:
            hint = Annotated[hint, tyro.conf.arg(help_behavior_hint="")]
        if usual is not None and not any(u == name or (nested and u.startswith(f"{name}.")) for u in usual):
            hint = Annotated[hint, tyro.conf.Suppress]
        fields.append((field.name, hint))
        copied[field.name] = value
    return dataclasses.make_dataclass(kind.__name__, fields, bases=(kind,), frozen=True, kw_only=True)(**copied)
