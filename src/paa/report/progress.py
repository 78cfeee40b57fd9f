"""What a person sees while a run goes on."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.control import Control
from rich.segment import ControlType


def training_line(record: dict[str, Any]) -> str:
    """Return one record of the training log as one line for people."""
    if "AP" in record:
        return (
            f"step {record['step']}: AP {_percent(record['AP'])}, AP50 {_percent(record['AP50'])} on the validation set"
        )
    parts = ", ".join(
        f"{name.removeprefix('loss_')} {value:.3f}" for name, value in record.items() if name.startswith("loss_")
    )
    return (
        f"step {record['step']}/{record['steps']}: loss {record['loss']:.3f} ({parts}), rate {record['lr']:.2g}, "
        f"{record['images_per_second']:.1f} images/s, {_duration(record['seconds_left'])} left"
    )


class TrainingProgress:
    """Prints a line per record of the log; in a terminal, training lines overwrite each other."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def __call__(self, record: dict[str, Any]) -> None:
        """Show a record."""
        line = training_line(record)
        if not self.console.is_terminal:
            self.console.print(line, highlight=False, soft_wrap=True)
            return
        lasting = "AP" in record or record["step"] == record.get("steps")
        self.console.control(Control((ControlType.ERASE_IN_LINE, 2)))
        self.console.print(line, end="\n" if lasting else "\r", highlight=False, no_wrap=True, overflow="ellipsis")


def _percent(value: float | None) -> str:
    return "undefined" if value is None else f"{100 * value:.1f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
