"""The lines that a person sees on the terminal during a training run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.control import Control
from rich.progress import Progress
from rich.segment import ControlType
from rich.text import Text

from paa.report.console import can_redraw

_BAR = 16
"""Characters of the bar."""


def training_line(record: dict[str, Any]) -> str:
    """Return a record of the training log as a line for people."""
    if "AP" in record:
        return (
            f"step {record['step']}: AP {_percent(record['AP'])}, AP50 {_percent(record['AP50'])} on the validation set"
        )
    return (
        f"step {record['step']}/{record['steps']}: loss {record['loss']:.3f} ({_losses(record)}), "
        f"lr {record['lr']:.2g}, {_speed(record['images_per_second'])} images/s, "
        f"{_duration(record['seconds_left'])} left"
    )


@contextmanager
def progress_bar(console: Console, name: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar while the block runs, on a terminal only; yield the function that advances it by a count."""
    with Progress(console=console, transient=True, disable=not can_redraw(console)) as bar:
        task = bar.add_task(name, total=total)
        yield lambda count: bar.advance(task, count)


class TrainingProgress:
    """Prints a line for each record of the log; in a terminal, those of training steps are one line that changes.

    That line has a bar, the time that is left, the last AP, losses, learning rate and speed; what is last is cut where
    the terminal is narrow. Colours are left out where NO_COLOR is set.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._last: dict[str, Any] | None = None
        self._best: dict[str, Any] | None = None

    def __call__(self, record: dict[str, Any]) -> None:
        """Show a record."""
        line = Text(training_line(record))
        if "AP" in record:
            line.append(self._compared(record))
        if not can_redraw(self.console):
            self.console.print(line, highlight=False, soft_wrap=True)
            return
        lasting = "AP" in record or record["step"] == record.get("steps")
        if not lasting:
            line = self._changing_line(record)
        self.console.control(Control((ControlType.ERASE_IN_LINE, 2)))
        self.console.print(line, end="\n" if lasting else "\r", highlight=False, no_wrap=True, overflow="ellipsis")

    def _compared(self, record: dict[str, Any]) -> str:
        """Remember a validation, and return how it compares with the best one before."""
        self._last, best = record, self._best
        if best is None or (record["AP"] or 0.0) > (best["AP"] or 0.0):
            self._best = record
            return ""
        if not best["AP"]:
            return ""
        return f"; the highest AP was {_percent(best['AP'])}, at step {best['step']}"

    def _changing_line(self, record: dict[str, Any]) -> Text:
        """Return a record of a training step with a bar, what people look at most first."""
        done = round(_BAR * record["step"] / max(record["steps"], 1))
        full, empty = ("#", "-") if self.console.options.ascii_only else ("━", "─")
        line = Text(f"{record['step']}/{record['steps']} ")
        line.append(full * done, "green")
        line.append(empty * (_BAR - done), "dim")
        line.append(f" {_duration(record['seconds_left'])} left, loss {record['loss']:.3f}")
        if self._last is not None:
            line.append(f", AP {_percent(self._last['AP'])}", "bold")
        line.append(f", lr {record['lr']:.2g}, {_speed(record['images_per_second'])} images/s, {_losses(record)}")
        return line


def _losses(record: dict[str, Any]) -> str:
    """Return the parts of the loss."""
    parts = {name.removeprefix("loss_"): value for name, value in record.items() if name.startswith("loss_")}
    return ", ".join(f"{name} {value:.3f}" for name, value in parts.items())


def _percent(value: float | None) -> str:
    return "undefined" if value is None else f"{100 * value:.1f}"


def _speed(images: float) -> str:
    return f"{images:.1f}" if images >= 1 else f"{images:.2g}"  # a large model on a CPU takes minutes for an image


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
