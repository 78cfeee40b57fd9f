"""The help of a command: the options that people use on one screen with --help, every option with --help-all."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Collection
from typing import Annotated, Any

import tyro

HELP, HELP_ALL = ("-h", "--help"), "--help-all"


def show_help(command: Any, prog: str, usual: Collection[str] | None) -> None:
    """Print the help of a command, and end the program with code 0.

    command: an instance of the command's dataclass, with the defaults that are shown. usual: the fields to show, those
    of a nested configuration as `schedule.epochs`; None: all.
    """
    shown = _shown(command, usual, "")
    description = typing.cast(str, command.__doc__)
    if usual is not None:
        description += f"\n\n{prog} {HELP_ALL} shows every option."
    # None is what an option is without a value: the command line would call the type of such options {None}|PATH
    tyro.cli(
        type(shown), args=[HELP[1]], default=shown, prog=prog, description=description, config=(tyro.conf.DisallowNone,)
    )


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
            hint = Annotated[(type(value), *typing.get_args(hint)[1:])] if typing.get_args(hint) else type(value)
        elif value is None:
            hint = Annotated[hint, tyro.conf.arg(help_behavior_hint="")]
        if usual is not None and not any(one == name or (nested and one.startswith(f"{name}.")) for one in usual):
            hint = tyro.conf.Suppress[hint]
        fields.append((field.name, hint))
        copied[field.name] = value
    return dataclasses.make_dataclass(kind.__name__, fields, bases=(kind,), frozen=True, kw_only=True)(**copied)
