"""A JSON file of one list that grows, and can be read at any time."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from types import TracebackType
from typing import Any

from paa.runtime.files import cannot_write


class JsonListFile:
    """Writes a list to a file item by item, as `json.dumps(items, indent=1)` would write the whole.

    Each item takes the place of the list's closing bracket and brings its own, so the file is valid JSON after every
    one: whatever ends the program, the items so far are there. What does not fit on the disk is taken back.
    """

    def __init__(self, path: Path) -> None:
        """Begin the file, in the place of what was at `path`. RunError if it cannot be written."""
        self._path = path
        self._end = 0  # where the last item ends
        try:
            self._file = path.open("wb", buffering=0)
            self._write(b"[]\n")
        except OSError as error:
            raise cannot_write(path, error) from error
        self._end, self._before = 1, b"\n"

    def __enter__(self) -> JsonListFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, item: Any) -> None:
        """Add an item. RunError if the disk is full: the file is then as it was."""
        data = self._before + textwrap.indent(json.dumps(item, indent=1), " ").encode()
        try:
            self._write(data + b"\n]\n")
        except BaseException as error:
            self._file.truncate(self._end)
            self._write(b"]\n" if self._end == 1 else b"\n]\n")
            if isinstance(error, OSError):
                raise cannot_write(self._path, error) from error
            raise
        self._end += len(data)
        self._before = b",\n"

    def _write(self, data: bytes) -> None:
        self._file.seek(self._end)
        while data:
            data = data[self._file.write(data) or 0 :]
