from __future__ import annotations

import io
import logging
import re
import sys
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from paa import Detections
from paa.report.outputs.entry import Entry
from paa.report.progress import PredictionLines, TrainingProgress, progress_bar, terminal_for_progress, training_line

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


def plain(text: str) -> str:
    """Return a text without its escape codes."""
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)


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
    assert plain(first).startswith(f"20/90000 {'─' * 16} 2:03:05 left, loss 2.457, lr")
    assert first.startswith("\x1b[2K")
    assert first.endswith("…")
    # what the longer line before left is erased
    assert rest.startswith("\x1b[2Kstep 20: AP 50.0, AP50 60.0 on the validation set\n")
    assert shown.count("\n") == 2
    assert shown.endswith("\n")


def test_a_line_that_changes_has_all_that_people_look_at() -> None:
    half = {**TRAINED, "step": 45_000}
    line = show([{"step": 20, "AP": 0.5, "AP50": 0.6}, half], terminal=True, width=200).splitlines()[-1]
    assert plain(line).rstrip("\r") == (
        f"45000/90000 {'━' * 8}{'─' * 8} 2:03:05 left, loss 2.457, AP 50.0, lr 0.0033, 12.3 images/s, "
        "classification 1.200, box 0.957, iou 0.300"
    )


def test_a_validation_is_compared_with_the_best_one() -> None:
    before = {"highest_AP": 0.5, "highest_AP_step": 2}
    validations = [
        {"step": 1, "AP": 0.0, "AP50": 0.0},
        {"step": 2, "AP": 0.5, "AP50": 0.5},
        {"step": 3, "AP": None, "AP50": None, **before},
        {"step": 4, "AP": 0.4, "AP50": 0.5, **before},
        {"step": 5, "AP": 0.6, "AP50": 0.6, **before},
    ]
    ends = [line.partition("validation set")[2] for line in show(validations, terminal=False, width=200).splitlines()]
    assert ends == ["", "", *["; the highest AP was 50.0, at step 2"] * 2, ""]


@pytest.mark.parametrize("no_color", [False, True])
def test_colours(monkeypatch: pytest.MonkeyPatch, no_color: bool) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    file = io.StringIO()
    progress = TrainingProgress(Console(file=file, force_terminal=True, width=200, color_system="standard"))
    progress({**TRAINED, "step": 45_000})
    assert ("\x1b[32m" in file.getvalue()) != no_color


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert show([TRAINED], terminal=True, width=200) == f"{LINE}\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_progress_bar_is_for_terminals_only_and_goes_away(terminal: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80, color_system=None)
    with progress_bar(console, "images", 4) as advance:
        advance(3)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert (" 75%" in shown) == terminal
    assert ("images" in shown) == terminal
    assert shown.endswith("\x1b[2K" if terminal else "")


def test_a_progress_bar_of_unknown_length_has_no_estimate() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    with progress_bar(console, "images", None) as advance:
        advance(3)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "3/?" in shown
    assert "0:00:00" in shown  # the time passed
    assert "%" not in shown


def test_what_is_logged_goes_above_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard error is then what rich puts there, and the same as before afterwards."""
    errors = io.StringIO()
    monkeypatch.setattr(sys, "stderr", errors)
    handler = logging.StreamHandler()
    log = logging.getLogger("paa")
    monkeypatch.setattr(log, "handlers", [handler])
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    with progress_bar(console, "images", 4):
        log.warning("a remark")
    log.warning("a later one")
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "a remark\n" in shown
    assert errors.getvalue() == "a later one\n"


@pytest.mark.parametrize(("output", "errors"), [(True, True), (True, False), (False, True), (False, False)])
def test_where_progress_is_shown(output: bool, errors: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the terminal that standard error is; where standard output is that terminal too, on it, above the lines."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    sys.stderr.isatty = lambda: errors  # type: ignore[method-assign]
    console = Console(file=io.StringIO(), force_terminal=output)
    shown = terminal_for_progress(console)
    assert shown.is_terminal == errors
    assert (shown is console) == (output and errors)


def entry(file: str, frame: int | None, objects: int) -> Entry:
    found = Detections(np.zeros((objects, 4), np.float32), np.ones(objects, np.float32), np.zeros(objects, int), ("a",))
    return Entry(file, file, np.zeros((1, 1, 3), np.uint8), found, frame, None if frame is None else frame / 25)


def test_lines_of_a_prediction() -> None:
    lines: list[str] = []
    take = PredictionLines(lines.append)
    for one in (
        *(entry("a.jpg", None, 2), entry("b.mp4", 0, 1), entry("b.mp4", 5, 3), entry("c.mp4", 0, 0)),
        *(entry("d.jpg", None, 0), entry("d.jpg", None, 1), entry("camera:0", 0, 7)),
    ):
        take(one)
    assert lines[-1] == "d.jpg: 1 object"
    take.end_video()
    take.end_video()
    assert lines == [
        "a.jpg: 2 objects",
        "b.mp4: 4 objects in 2 frames",
        "c.mp4: 0 objects in 1 frame",
        "d.jpg: 0 objects",
        "d.jpg: 1 object",
        "camera:0: 7 objects in 1 frame",
    ]
