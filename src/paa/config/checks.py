"""Checks of a configuration's values: each error is one line that names the field, what it must be, and what it is."""

from __future__ import annotations

import dataclasses
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import get_args, get_type_hints

from paa.errors import ConfigError


def check(prefix: str, *rules: tuple[str, object, str, bool]) -> None:
    """Raise ConfigError for the first rule that does not hold: (field, value, expected, whether it holds)."""
    for name, given, expected, holds in rules:
        if not holds:
            raise ConfigError(f"{prefix}{name} must be {expected}, got {given}")


def check_types(prefix: str, config: object) -> None:
    """Raise ConfigError for the first number, switch or nested configuration that is of another type than it says."""
    for name, (kind, optional) in _kinds(type(config)).items():
        value = getattr(config, name)
        if optional and value is None:
            continue
        if kind is bool:
            holds, expected = value in (True, False), "True or False"
        elif kind is int:
            holds, expected = isinstance(value, Integral) and not isinstance(value, bool), "a whole number"
        elif kind is float:
            holds, expected = isinstance(value, Real) and not isinstance(value, bool), "a number"
        else:
            holds, expected = isinstance(value, kind), f"a {kind.__name__}"
        if not holds:
            raise ConfigError(f"{prefix}{name} must be {expected}, got {value!r}")


def _kinds(config: type) -> dict[str, tuple[type, bool]]:
    """Return each field's type, and whether it may be None; fields of texts and tuples are left out."""
    kinds = {}
    for name, hint in get_type_hints(config).items():
        given = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        (kind, *others) = [each for each in given if each is not NoneType]
        if not others and (kind in (bool, int, float) or dataclasses.is_dataclass(kind)):
            kinds[name] = kind, NoneType in given
    return kinds
