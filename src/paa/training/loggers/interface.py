"""What a logger is: it learns of a run when it is opened, then gets its numbers, and its files at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from paa.training.records import Record


@dataclass(frozen=True)
class LoggedRun:
    """A run as its loggers see it; only its first process opens any.

    folder: of the run; its name is the run's name. parameters: the resolved recipe and what else decides the result, by
    names as `schedule.lr`. step: the steps trained before, 0 in a new run. kept: the records of that step itself, which
    a run that is resumed does not write again.
    """

    folder: Path
    parameters: Mapping[str, object]
    step: int = 0
    kept: Sequence[Record] = ()


class RunLogger(Protocol):
    """Shows a run to a person; each tool is one, opened by a function that takes a `LoggedRun`."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Take the numbers of a step, by names as `loss/box`."""

    def picture(self, step: int, name: str, path: Path) -> None:
        """Take a picture of a step, a JPEG in the run's folder."""

    def files(self, paths: Sequence[Path]) -> None:
        """Take the files of a run that has ended without an error."""

    def close(self, error: BaseException | None) -> None:
        """End; error: what stopped the run, None where nothing did."""


def scalars_of(record: Record) -> dict[str, float]:
    """Return the numbers of a record that loggers show, without those that are undefined."""
    steps = ("step", "steps", "highest_AP_step")
    shown = {name: value for name, value in record.items() if name not in steps and value is not None}
    return {_shown_name(name): value for name, value in shown.items()}


def _shown_name(name: str) -> str:
    """Return the name of a number in its group, as `loss/box`."""
    group, _, rest = name.partition("_")
    return f"{group}/{rest}" if rest and group in ("loss", "assignment") else name
