"""Standard output and errors that never stop a command: a closed pipe, a full disk, characters a terminal lacks."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast


class Output:
    """A text stream that is written to until it fails, and to nowhere afterwards; what is printed is never the work.

    error: what the system said when it failed, but None for a pipe whose reader had read enough.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Write to the stream, as long as that works."""
        with self._until_it_fails():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream, as long as that works."""
        with self._until_it_fails():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _until_it_fails(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                self.error = error
            # what is buffered must go somewhere too, or the interpreter complains at its end
            with suppress(OSError, io.UnsupportedOperation):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)


@contextmanager
def safe_output() -> Iterator[None]:
    """Let nothing that is printed inside stop the program; characters that the terminal lacks become escapes.

    A closed pipe is no error. Another failure of standard output is one line on standard errors and exit code 2, once
    everything inside is done.
    """
    before = sys.stdout, sys.stderr
    outputs = [Output(stream or io.StringIO()) for stream in before]  # None where the shell closed it
    handling = [getattr(stream, "errors", None) for stream in before]
    _set_errors(before, ["backslashreplace"] * 2)
    sys.stdout, sys.stderr = (cast("TextIO", output) for output in outputs)
    code: object = None
    try:
        yield
    except SystemExit as stop:
        code = stop.code
        raise
    finally:
        for output in outputs:
            output.flush()
        sys.stdout, sys.stderr = before
        _set_errors(before, handling)
        failed = outputs[0].error
        if failed is not None and not code and sys.exc_info()[0] in (None, SystemExit):
            print(f"paa: error: standard output cannot be written: {failed.strerror}", file=sys.stderr)
            sys.exit(2)


def _set_errors(streams: tuple[TextIO, TextIO], errors: list[str | None]) -> None:
    """Set what the streams do with characters that their encoding lacks, where that can be set."""
    for stream, how in zip(streams, errors):
        if how is not None and isinstance(stream, io.TextIOWrapper):
            with suppress(OSError, ValueError):
                stream.reconfigure(errors=how)
