"""Rules of a person's own, from a file or an installed module: `my_rules.py:iou_rule`, `my_package.rules:IouRule`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import partial, reduce
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from paa.assigners.rule_text import Parameters, RuleText
from paa.core.assignment import Assigner
from paa.errors import ConfigError, one_line

_loaded: dict[str, str] = {}
"""Name of a module -> the place that a person gave for it."""


def load_rule(text: RuleText) -> Assigner:
    """Return the rule that a name with a colon stands for; this runs the file or module.

    After the colon is a function, another object that can be called, or a class, of which an object is made. The
    parameters are keyword arguments of the class or of the function. ConfigError if that is not possible.
    """
    place, _, attribute = text.name.rpartition(":")
    try:
        found = reduce(getattr, attribute.split("."), cast(Any, _module(place)))
        rule = _with_parameters(found, text.parameters)
    except Exception as error:  # of code that may do anything
        raise ConfigError(f"assigner {text}: {type(error).__name__}: {one_line(error)}") from error
    if not callable(rule):
        raise ConfigError(f"assigner {text}: is a {type(rule).__name__}, which cannot be called as a rule")
    return cast(Assigner, rule)


def place_of_failure(error: BaseException) -> str | None:
    """Return the file or module of a person's own rule in whose code an error arose; None if in none."""
    frame = error.__traceback__
    places = []
    while frame is not None:
        places.append(_loaded.get(frame.tb_frame.f_globals.get("__name__", "")))
        frame = frame.tb_next
    return next((place for place in places if place is not None), None)


def source_of(text: RuleText) -> Path | None:
    """Return the file in which a rule of a person's own is; None for a module that has none, or is not there."""
    place = text.name.rpartition(":")[0]
    if place.endswith(".py"):
        return Path(place)
    try:
        spec = importlib.util.find_spec(place)
    except (ImportError, ValueError):  # the second: `__main__` of a notebook
        return None
    return None if spec is None or spec.origin is None or not Path(spec.origin).is_file() else Path(spec.origin)


def _with_parameters(found: Any, parameters: Parameters) -> Any:
    if isinstance(found, type):
        return found(**parameters)
    return partial(found, **parameters) if parameters else found


def _module(place: str) -> ModuleType:
    """Return the module of a file, which is run once in a process, or the one of that name."""
    if not place.endswith(".py"):
        _loaded[place] = place
        return importlib.import_module(place)
    path = Path(place).resolve()
    name = f"paa_rules_{path.stem}_{abs(hash(path)):x}"
    _loaded[name] = place
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)  # before it runs, as dataclasses look there
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
