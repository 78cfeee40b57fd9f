from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from paa.report.progress import TrainingProgress, progress_bar, training_line

TRAINED: dict[str, Any] = {
    "step": 20,
    "steps": 90_000,
    "loss": 2.4567,
    "loss_classification": 1.2,
    "loss_box": 0.9567,
    "loss_iou": 0.3,
    "positives": 17.0,
    "lr": 0.01 / 3,
    "images_per_second": 12.345,
    "seconds_left": 7384.6,
}
LINE = "step 20/90000: loss 2.457 (classification 1.200, box 0.957, iou 0.300), lr 0.0033, 12.3 images/s, 2:03:05 left"


def show(records: list[dict[str, Any]], terminal: bool, width: int = 60) -> str:
    file = io.StringIO()
    progress = TrainingProgress(Console(file=file, force_terminal=terminal, width=width, soft_wrap=True))
    for record in records:
        progress(record)
    return file.getvalue()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, LINE),
        ({"seconds_left": 0.2}, LINE.replace("2:03:05", "0:00:00")),
        ({"seconds_left": 59.6}, LINE.replace("2:03:05", "0:01:00")),
        ({"images_per_second": 0.017}, LINE.replace("12.3 images", "0.017 images")),
        ({"seconds_left": 360_000.0}, LINE.replace("2:03:05", "100:00:00")),
    ],
)
def test_training_line(changes: dict[str, float], line: str) -> None:
    assert training_line({**TRAINED, **changes}) == line


def test_validation_line() -> None:
    assert training_line({"step": 5, "AP": 0.4025, "AP50": None}) == (
        "step 5: AP 40.2, AP50 undefined on the validation set"
    )


def test_a_file_gets_whole_lines() -> None:
    assert show([TRAINED, {"step": 20, "AP": 0.5, "AP50": 0.6}], terminal=False) == (
        f"{LINE}\nstep 20: AP 50.0, AP50 60.0 on the validation set\n"
    )


def test_a_terminal_gets_one_line_that_changes() -> None:
    validated = {"step": 20, "AP": 0.5, "AP50": 0.6}
    shown = show([TRAINED, validated, {**TRAINED, "step": 90_000}], terminal=True)
    first, rest = shown.split("\r", 1)
    assert first.startswith("\x1b[2K" + LINE[:50])
    assert first.endswith("…")
    # what the longer line before left is erased
    assert rest.startswith("\x1b[2Kstep 20: AP 50.0, AP50 60.0 on the validation set\n")
    assert shown.count("\n") == 2
    assert shown.endswith("\n")


@pytest.mark.parametrize("terminal", [True, False])
def test_a_progress_bar_is_for_terminals_only_and_goes_away(terminal: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80, color_system=None)
    with progress_bar(console, "images", 4) as advance:
        advance(3)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert (" 75%" in shown) == terminal
    assert ("images" in shown) == terminal
    assert shown.endswith("\x1b[2K" if terminal else "")
