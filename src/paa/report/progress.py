"""The lines that a person sees on the terminal during a training run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.control import Control
from rich.progress import Progress
from rich.segment import ControlType

from paa.report.console import can_redraw


def training_line(record: dict[str, Any]) -> str:
    """Return a record of the training log as a line for people."""
    if "AP" in record:
        return (
            f"step {record['step']}: AP {_percent(record['AP'])}, AP50 {_percent(record['AP50'])} on the validation set"
        )
    parts = ", ".join(
        f"{name.removeprefix('loss_')} {value:.3f}" for name, value in record.items() if name.startswith("loss_")
    )
    return (
        f"step {record['step']}/{record['steps']}: loss {record['loss']:.3f} ({parts}), lr {record['lr']:.2g}, "
        f"{_speed(record['images_per_second'])} images/s, {_duration(record['seconds_left'])} left"
    )


@contextmanager
def progress_bar(console: Console, name: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar while the block runs, on a terminal only; yield the function that advances it by a count."""
    with Progress(console=console, transient=True, disable=not can_redraw(console)) as bar:
        task = bar.add_task(name, total=total)
        yield lambda count: bar.advance(task, count)


class TrainingProgress:
    """Prints a line for each record of the log; in a terminal, the lines of training steps overwrite each other."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def __call__(self, record: dict[str, Any]) -> None:
        """Show a record."""
        line = training_line(record)
        if not can_redraw(self.console):
            self.console.print(line, highlight=False, soft_wrap=True)
            return
        lasting = "AP" in record or record["step"] == record.get("steps")
        self.console.control(Control((ControlType.ERASE_IN_LINE, 2)))
        self.console.print(line, end="\n" if lasting else "\r", highlight=False, no_wrap=True, overflow="ellipsis")


def _percent(value: float | None) -> str:
    return "undefined" if value is None else f"{100 * value:.1f}"


def _speed(images: float) -> str:
    return f"{images:.1f}" if images >= 1 else f"{images:.2g}"  # a large model on a CPU takes minutes for an image


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
