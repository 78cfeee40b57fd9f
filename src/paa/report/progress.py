"""What a person sees on the terminal while a command works: bars, and lines of training and prediction."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.control import Control
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.segment import ControlType
from rich.text import Text

from paa.data.read_report import counted, printable
from paa.report.console import can_redraw, make_console
from paa.report.outputs.entry import Entry

_BAR = 16
"""Characters of the bar."""


def training_line(record: dict[str, Any]) -> str:
    """Return a record of the training log as a line for people."""
    if "AP" in record:
        return (
            f"step {record['step']}: AP {_percent(record['AP'])}, AP50 {_percent(record['AP50'])} on the validation set"
        )
    return (
        f"step {record['step']}/{record['steps']}: loss {_loss(record['loss'])} ({_losses(record)}), "
        f"lr {record['lr']:.2g}, {_speed(record['images_per_second'])} images/s, "
        f"{_duration(record['seconds_left'])} left{_bad_steps(record)}"
    )


@contextmanager
def progress_bar(console: Console, name: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a progress bar while the block runs, on a terminal only; yield the function that advances it by a count.

    The bar has an estimate of the time left; total None: it is not known, and the bar has the time passed instead.
    """
    if not can_redraw(console):  # a bar of rich that is switched off prints an empty line, before rich 14
        with _log_goes_to_stderr():
            yield lambda count: None
        return
    columns = Progress.get_default_columns()
    if total is None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    one_terminal = console.is_terminal and sys.stdout.isatty()  # what is printed goes above the bar, else where it was
    with (
        Progress(*columns, console=console, transient=True, redirect_stdout=one_terminal) as bar,
        _log_goes_to_stderr(),
    ):
        task = bar.add_task(name, total=total)
        yield lambda count: bar.advance(task, count)


def terminal_for_progress(output: Console) -> Console:
    """Return where a command shows its progress whose results go to `output`: there if that is the terminal, too.

    A console that is no terminal where standard error is none, so that nothing is shown.
    """
    errors = make_console(stderr=True)
    return output if output.is_terminal and errors.is_terminal else errors


@contextmanager
def _log_goes_to_stderr() -> Iterator[None]:
    """Let the lines of the log go to what standard error is in the block: above a progress bar, if one is shown."""
    handlers = [h for h in logging.getLogger("paa").handlers if type(h) is logging.StreamHandler]
    before = [(handler, handler.stream) for handler in handlers]
    for handler in handlers:
        handler.setStream(sys.stderr)
    try:
        yield
    finally:
        for handler, stream in before:
            handler.setStream(stream)


class PredictionLines:
    """Prints a line for each image in which objects were detected, and one for each video when its last frame was."""

    def __init__(self, show: Callable[[str], object]) -> None:
        self._show = show
        self._video, self._frames, self._objects = "", 0, 0

    def __call__(self, entry: Entry) -> None:
        """Take one image or frame, in order."""
        if entry.file != self._video:
            self.end_video()
        count = len(entry.detections)
        if entry.frame is None:
            self._show(f"{printable(entry.file)}: {counted(count, 'object')}")
            return
        self._video = entry.file
        self._frames += 1
        self._objects += count

    def end_video(self) -> None:
        """Print the line of the video whose frames came last, if it was not printed."""
        if self._video:
            self._show(
                f"{printable(self._video)}: {counted(self._objects, 'object')} in {counted(self._frames, 'frame')}"
            )
        self._video, self._frames, self._objects = "", 0, 0


class TrainingProgress:
    """Prints a line for each record of the log; in a terminal, those of training steps are one line that changes.

    That line has a bar, the time that is left, the last AP, losses, learning rate and speed; what is last is cut where
    the terminal is narrow. Colours are left out where NO_COLOR is set.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._last: dict[str, Any] | None = None

    def __call__(self, record: dict[str, Any]) -> None:
        """Show a record."""
        line = Text(training_line(record))
        if "AP" in record:
            self._last = record
            line.append(_compared(record))
        if not can_redraw(self.console):
            self.console.print(line, highlight=False, soft_wrap=True)
            return
        lasting = "AP" in record or record["step"] == record.get("steps")
        if not lasting:
            line = self._changing_line(record)
        self.console.control(Control((ControlType.ERASE_IN_LINE, 2)))
        self.console.print(line, end="\n" if lasting else "\r", highlight=False, no_wrap=True, overflow="ellipsis")

    def _changing_line(self, record: dict[str, Any]) -> Text:
        """Return a record of a training step with a bar, what people look at most first."""
        done = round(_BAR * record["step"] / max(record["steps"], 1))
        full, empty = ("#", "-") if self.console.options.ascii_only else ("━", "─")
        line = Text(f"{record['step']}/{record['steps']} ")
        line.append(full * done, "green")
        line.append(empty * (_BAR - done), "dim")
        line.append(f" {_duration(record['seconds_left'])} left, loss {_loss(record['loss'])}{_bad_steps(record)}")
        if self._last is not None:
            line.append(f", AP {_percent(self._last['AP'])}", "bold")
        line.append(f", lr {record['lr']:.2g}, {_speed(record['images_per_second'])} images/s, {_losses(record)}")
        return line


def _compared(record: dict[str, Any]) -> str:
    """Return how a validation compares with the best one before, where that was better."""
    highest, step = record.get("highest_AP", 0.0), record.get("highest_AP_step")
    if (record["AP"] or 0.0) > highest or not highest:
        return ""
    return f"; the highest AP was {_percent(highest)}" + (f", at step {step}" if step else "")


def _losses(record: dict[str, Any]) -> str:
    """Return the parts of the loss."""
    parts = {name.removeprefix("loss_"): value for name, value in record.items() if name.startswith("loss_")}
    return ", ".join(f"{name} {_loss(value)}" for name, value in parts.items())


def _loss(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3f}"


def _bad_steps(record: dict[str, Any]) -> str:
    """Return how many steps of the run were skipped, if any were."""
    count = record.get("bad_steps", 0)
    return f", {counted(count, 'step')} skipped" if count else ""


def _percent(value: float | None) -> str:
    return "undefined" if value is None else f"{100 * value:.1f}"


def _speed(images: float) -> str:
    return f"{images:.1f}" if images >= 1 else f"{images:.2g}"  # a large model on a CPU takes minutes for an image


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
