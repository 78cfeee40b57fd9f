"""What a shell can complete: every command with its options and positional arguments, and the values of these.

It is read from the commands' dataclasses. tyro has completion scripts of its own, but they know one parser only,
complete no positional arguments, and start Python at every key.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from paa.commands.help import HELP, HELP_ALL

_POSITIONAL = typing.get_args(tyro.conf.Positional[int])[1]
_SUPPRESS = typing.get_args(tyro.conf.Suppress[int])[1]
_HELP_LENGTH = 80


@dataclass(frozen=True)
class Values:
    """What can stand after an option, or in the place of a positional argument.

    words: to choose from. files: files and folders fit too. many: any number of values.
    """

    words: tuple[str, ...] = ()
    files: bool = False
    many: bool = False


@dataclass(frozen=True)
class Option:
    """An option. flags: the option, and its negation if it has one. values: what follows; None for nothing."""

    flags: tuple[str, ...]
    values: Values | None
    help: str


@dataclass(frozen=True)
class Positional:
    """A positional argument."""

    name: str
    values: Values
    help: str


@dataclass(frozen=True)
class Words:
    """All that can be completed after the name of a command."""

    help: str
    options: tuple[Option, ...]
    positionals: tuple[Positional, ...]


def words_of(command: type, known: Mapping[str, Values]) -> Words:
    """Return what can be completed after a command, a dataclass.

    known: what fits where the type is any text or file, by the name of the option or argument, as "recipe".
    """
    options, positionals = [], []
    for name, hint, is_positional, text in _fields(command):
        values = _values(hint, known.get(name, Values()))
        if is_positional:
            positionals.append(Positional(name, values or Values(), text))
        elif values is None:
            group, dot, last = name.rpartition(".")
            options.append(Option((f"--{name}", f"--{group}{dot}no-{last}"), None, text))
        else:
            options.append(Option((f"--{name}",), values, text))
    options.append(Option(HELP, None, "show the usual options"))
    options.append(Option((HELP_ALL,), None, "show every option"))
    return Words(_first_words(command.__doc__ or ""), tuple(options), tuple(positionals))


def _fields(kind: type, prefix: str = "") -> Iterator[tuple[str, Any, bool, str]]:
    """Yield the options of a dataclass and of those in it: name, type, whether it is positional, description."""
    hints = typing.get_type_hints(kind, include_extras=True)
    texts = _descriptions(kind)
    for field in dataclasses.fields(kind):
        hint, marks = _unwrapped(hints[field.name])
        given = [mark.name for mark in marks if getattr(mark, "name", None) is not None]
        name = given[0] if given else field.name.replace("_", "-")
        if dataclasses.is_dataclass(hint):
            yield from _fields(typing.cast(type, hint), f"{prefix}{name}." if name else prefix)
        elif _SUPPRESS not in marks and not any(dataclasses.is_dataclass(part) for part in typing.get_args(hint)):
            yield f"{prefix}{name}", hint, _POSITIONAL in marks, texts.get(field.name, "")


def _unwrapped(hint: Any) -> tuple[Any, list[Any]]:
    """Return a type without its annotations, and these."""
    if typing.get_origin(hint) is not typing.Annotated:
        return hint, []
    inner, *marks = typing.get_args(hint)
    return inner, marks


def _values(hint: Any, known: Values) -> Values | None:
    """Return what fits a type, with what is known of it; None for a bool, whose option takes no value."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    parts = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        return Values(tuple(map(str, parts)))
    if typing.get_origin(hint) is tuple:
        return dataclasses.replace(_values(parts[0], known) or Values(), many=True)
    if hint is bool:
        return None
    return Values(known.words, files=known.files or hint is Path)


def _descriptions(kind: type) -> dict[str, str]:
    """Return the first words of what the source says below each field of a dataclass, the inherited ones included."""
    texts = {}
    for base in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        body = typing.cast(ast.ClassDef, ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]).body
        for field, text in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
                texts[field.target.id] = _first_words(ast.literal_eval(text.value))
    return texts


def _first_words(text: str) -> str:
    """Return the start of a description, short enough for a line beside what is completed."""
    start = textwrap.shorten(text.split("; ")[0].split(". ")[0], _HELP_LENGTH, placeholder=" ...")
    return start if start.endswith("...") else start.rstrip(".,:")
