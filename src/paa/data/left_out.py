"""left_out.txt: each annotation and image that a run or an evaluation left out, and why."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from paa.runtime.files import write_text

LEFT_OUT = "left_out.txt"
"""The name of the file in the folder of a run, an evaluation or a prediction."""


class LeftOut:
    """The lines of a left_out.txt: the name of a split and a message, each once."""

    def __init__(self, path: Path, keep: bool = False) -> None:
        """keep: add to the lines of an existing file, as a resumed run does."""
        self.path = path
        text = path.read_text(encoding="utf-8", errors="replace") if keep and path.exists() else ""
        self._lines: dict[str, None] = dict.fromkeys(text.splitlines())
        self._written: int | None = None

    def add(self, split: str, messages: Iterable[str]) -> None:
        """Add the messages on what was left out of a split."""
        for message in messages:
            line = f"{split}: {' '.join(message.splitlines())}"
            self._lines[line.encode(errors="backslashreplace").decode()] = None  # file names may be invalid Unicode

    def write(self) -> None:
        """Write the file if lines were added since the last time; without any lines, remove it."""
        if len(self._lines) == self._written:
            return
        if self._lines:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.path, "".join(line + "\n" for line in self._lines))
        else:
            self.path.unlink(missing_ok=True)
        self._written = len(self._lines)
