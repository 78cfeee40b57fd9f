"""A JSON file that holds one list, grows item by item and is valid JSON at any time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from paa.runtime.files import cannot_write


class JsonListFile:
    """Writes a list to a file item by item; in the end it is what `json.dumps(items, indent=1)` gives.

    Each item overwrites the list's closing bracket and writes a new one after itself, so the file is valid JSON after
    every item: whatever ends the program, the items so far are kept. An item that does not fit on the disk is undone.
    """

    def __init__(self, path: Path) -> None:
        """Begin the file, overwriting what was at `path`. RunError if it cannot be written."""
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
        self.extend([item])

    def extend(self, items: Sequence[Any]) -> None:
        """Add items, all or none of them, as `append` adds one."""
        if not items:
            return
        # one call for all items: each call leaves a circle of functions, which stays in memory until it is looked for
        data = self._before + json.dumps(list(items), indent=1)[2:-2].encode()
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
