"""Colours and progress are for terminals that want them: a real terminal, a pipe, NO_COLOR, FORCE_COLOR, TERM=dumb."""

from __future__ import annotations

import os
import pty
import sys
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

import pytest

from paa.commands.main import main
from tests.processes import CONTEXT

ESCAPE = "\x1b"
NAMES = ("NO_COLOR", "FORCE_COLOR", "COLUMNS")


def run(arguments: list[str], terminal: bool, **environment: str) -> str:
    """Return all that a command prints, in a terminal or to a pipe."""
    here, there = pty.openpty() if terminal else os.pipe()
    process = CONTEXT.Process(target=_run, args=(DupFd(there), arguments, {"TERM": "xterm-256color", **environment}))
    process.start()
    os.close(there)
    shown = b""
    while piece := _read(here):
        shown += piece
    os.close(here)
    process.join()
    return shown.decode()


def _run(end: Any, arguments: list[str], environment: dict[str, str]) -> None:
    """Run a command whose standard streams are a file; in a process of its own."""
    file = end.detach()
    for number in range(3):
        os.dup2(file, number)
    os.close(file)
    for name in NAMES:
        os.environ.pop(name, None)
    os.environ.update(environment)
    sys.stdout, sys.stderr = os.fdopen(1, "w", encoding="utf-8"), os.fdopen(2, "w", encoding="utf-8")
    main(arguments)


def _read(file: int) -> bytes:
    try:
        return os.read(file, 1 << 16)
    except OSError:  # a terminal whose program has ended
        return b""


@pytest.fixture(scope="module")
def check(shapes: Path) -> list[str]:
    """Return a command that shows progress bars and prints in colours."""
    return ["data", "check", str(shapes), "--min-size", "20"]


def test_a_terminal_shows_progress_and_colours(check: list[str]) -> None:
    shown = run(check, terminal=True)
    assert f"{ESCAPE}[1;36mhint{ESCAPE}[0m" in shown
    assert "images of train" in shown  # the bar, which goes away again
    assert shown.rstrip().endswith(f"clean{ESCAPE}[0m")


def test_no_color_leaves_the_colours_out(check: list[str]) -> None:
    shown = run(check, terminal=True, NO_COLOR="1")
    assert f"{ESCAPE}[1;36m" not in shown
    assert f"{ESCAPE}[3" not in shown  # no colour of a letter


@pytest.mark.parametrize("environment", [{}, {"TERM": "dumb"}, {"NO_COLOR": "1"}])
def test_a_pipe_gets_plain_text(check: list[str], environment: dict[str, str]) -> None:
    shown = run(check, terminal=False, **environment)
    assert ESCAPE not in shown
    assert "\r" not in shown
    assert "images of train" not in shown
    assert "hint: " in shown


def test_a_dumb_terminal_gets_plain_text(check: list[str]) -> None:
    shown = run(check, terminal=True, TERM="dumb")
    assert ESCAPE not in shown
    assert "images of train" not in shown
    assert "hint: " in shown


def test_force_color_colours_a_pipe_without_progress(check: list[str]) -> None:
    shown = run(check, terminal=False, FORCE_COLOR="1")
    assert f"{ESCAPE}[1;36mhint{ESCAPE}[0m" in shown
    assert "images of train" not in shown
    assert ESCAPE not in run(check, terminal=False, FORCE_COLOR="1", NO_COLOR="1").replace(f"{ESCAPE}[1m", "").replace(
        f"{ESCAPE}[0m", ""
    )


@pytest.mark.parametrize("arguments", [["train", "--help"], ["eval"]])
def test_help_and_errors_of_the_parser(arguments: list[str]) -> None:
    assert ESCAPE in run(arguments, terminal=True)
    for plain in (
        run(arguments, terminal=True, NO_COLOR="1"),
        run(arguments, terminal=True, TERM="dumb"),
        run(arguments, terminal=False),
    ):
        assert "--data" in plain
        assert ESCAPE not in plain


def test_json_has_no_colours(shapes: Path) -> None:
    assert ESCAPE not in run(["data", "stats", str(shapes), "--json"], terminal=False, FORCE_COLOR="1")
