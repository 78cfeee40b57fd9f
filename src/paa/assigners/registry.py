"""The assignment rules by name, and any rule from its text: a name, parameters, a person's own code."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import partial
from inspect import signature
from typing import Any, cast, get_type_hints

import msgspec

from paa.assigners.atss import AtssAssigner
from paa.assigners.centre_sampling import CentreSamplingAssigner
from paa.assigners.highest_iou import HighestIouAssigner
from paa.assigners.one_to_one import OneToOneAssigner
from paa.assigners.own import load_rule
from paa.assigners.rule_text import RuleText, parse_rule
from paa.assigners.simota import SimOtaAssigner
from paa.assigners.task_aligned import TaskAlignedAssigner
from paa.assigners.trial import try_rule
from paa.core.assignment import Assigner, PaaAssigner
from paa.errors import ConfigError

ASSIGNERS: Mapping[str, type[Assigner]] = {
    "paa": PaaAssigner,
    "highest-iou": HighestIouAssigner,
    "centre-sampling": CentreSamplingAssigner,
    "atss": AtssAssigner,
    "simota": SimOtaAssigner,
    "task-aligned": TaskAlignedAssigner,
    "one-to-one": OneToOneAssigner,
}
"""Name -> the class of the rule, whose fields are its parameters; the names are those of `AssignerName`."""

BY_ANCHORS = frozenset({"highest-iou", "centre-sampling", "atss"})
"""The rules that look at anchors and objects alone, and at no predictions."""


def make_assigner(text: str) -> Assigner:
    """Return the rule of this text: `atss`, with the numbers of its paper; `atss(per_level=5)`; or `FILE.py:NAME`.

    What has a colon is a rule of a person's own, from a file or a module, which is run. ConfigError if there is no such
    rule, if it needs a package that is not installed, or if it fails on a small image.
    """
    parsed = parse_rule(text)
    if not parsed.is_code and not parsed.parameters:
        return _kind(parsed)()
    rule = load_rule(parsed) if parsed.is_code else _kind(parsed)(**_checked(parsed))
    try_rule(rule, text)
    return rule


def text_of(rule: Assigner) -> str:
    """Return the text of a rule that is a value: of a rule of `ASSIGNERS` the one that makes it again.

    Of any other the module and the name, with the fields of a dataclass that are not its defaults, or the arguments of
    a `functools.partial`.
    """
    parameters: dict[str, Any] = {}
    own: Any = rule
    if isinstance(rule, partial):
        own = rule.func
        parameters = {**signature(own).bind_partial(*rule.args).arguments, **rule.keywords}
    elif is_dataclass(rule):
        # an array compared with another is no truth value
        differs = {f.name: repr(getattr(rule, f.name)) != repr(_default(f)) for f in fields(rule)}
        parameters = {name: getattr(rule, name) for name, changed in differs.items() if changed}
    name = next((known for known, each in ASSIGNERS.items() if each is type(rule)), None)
    own = own if hasattr(own, "__qualname__") else type(own)
    return str(RuleText(name or f"{own.__module__}:{own.__qualname__}", parameters))


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _kind(text: RuleText) -> type[Assigner]:
    if text.name not in ASSIGNERS:
        known = ", ".join(ASSIGNERS)
        raise ConfigError(f"unknown assigner {text.name!r}; known: {known}, or one of your own, as my_rules.py:my_rule")
    return ASSIGNERS[text.name]


def _checked(text: RuleText) -> dict[str, Any]:
    """Return the parameters of a rule of `ASSIGNERS`, each of its field's type; ConfigError for any other."""
    hints = get_type_hints(kind := _kind(text))
    known = [field.name for field in fields(cast(Any, kind))]
    checked = {}
    for name, value in text.parameters.items():
        if name not in known:
            raise ConfigError(f"assigner {text}: {text.name} has no parameter {name!r}; known: {', '.join(known)}")
        try:
            checked[name] = msgspec.convert(value, hints[name])
        except msgspec.ValidationError as error:
            raise ConfigError(f"assigner {text}: {name} cannot be {value!r}: {error}") from error
        if (fault := _out_of_range(checked[name])) is not None:
            raise ConfigError(f"assigner {text}: {name} {fault}, not {value!r}")
    return checked


def _out_of_range(value: int | float | tuple[float, ...]) -> str | None:
    """Return what a parameter's value breaks: counts are at least 1, all other numbers finite and not negative."""
    if isinstance(value, int):
        return None if value >= 1 else "must be at least 1"
    values = value if isinstance(value, tuple) else (value,)
    return None if all(0 <= each < math.inf for each in values) else "must be finite and not negative"
