"""The console that a command prints to, as the terminal and the environment want it."""

from __future__ import annotations

import os
import sys

from rich.console import Console


def make_console(stderr: bool = False) -> Console:
    """Return a console for standard output, or for standard error.

    Colours are for terminals: NO_COLOR leaves them out there too, TERM=dumb every escape code; FORCE_COLOR colours what
    goes to a file or a pipe. Progress bars and lines that change are for terminals only, whatever the environment says,
    which rich alone would not see to.
    """
    stream = sys.stderr if stderr else sys.stdout
    terminal = stream.isatty()
    colored = os.environ.get("FORCE_COLOR") and not os.environ.get("NO_COLOR") and not terminal
    return Console(
        stderr=stderr,
        soft_wrap=True,
        force_terminal=terminal,
        color_system="standard" if colored else "auto",
        emoji=False,  # a class may be called :car:
    )


def can_redraw(console: Console) -> bool:
    """Return whether what is shown can be changed later: on a terminal that knows escape codes."""
    return console.is_terminal and not console.is_dumb_terminal
