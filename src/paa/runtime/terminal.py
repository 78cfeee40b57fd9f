"""Printing that never stops a command: closed pipes, full disks, characters that the terminal cannot show."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

_FINDINGS = 1
"""The exit code of a command that is done, but found something: with its output lost, nobody knows what."""


class Output:
    """A text stream that takes anything after its first failure and drops it, as no result depends on what is printed.

    error: the failure; None before, and for a closed pipe, whose reader had read enough.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Write to the stream, or drop the text after a failure."""
        with self._until_it_fails():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream, if it has not failed."""
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
            # the interpreter flushes at its end: what is still buffered must find a stream that works
            with suppress(OSError, io.UnsupportedOperation):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)


@contextmanager
def safe_output() -> Iterator[None]:
    """Keep the program going, inside, when printing fails; characters that the terminal cannot show become escapes.

    A closed pipe is no error. Another failure of standard output is reported at the end: one line on standard error,
    exit code 2.
    """
    before = sys.stdout, sys.stderr
    outputs = [Output(stream or io.StringIO()) for stream in before]  # None where the shell closed it
    handling = [getattr(stream, "errors", None) for stream in before]
    _handle_characters(before, ["backslashreplace"] * 2)
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
        _handle_characters(before, handling)
        failed = outputs[0].error
        if failed is not None and code in (0, None, _FINDINGS) and sys.exc_info()[0] in (None, SystemExit):
            print(f"paa: error: standard output cannot be written: {failed.strerror}", file=sys.stderr)
            sys.exit(2)


def _handle_characters(streams: tuple[TextIO, TextIO], handlers: list[str | None]) -> None:
    """Set what each stream does with characters that its encoding lacks (`str.encode`'s errors); None: no change."""
    for stream, handler in zip(streams, handlers):
        if handler is not None and isinstance(stream, io.TextIOWrapper):
            with suppress(OSError, ValueError):
                stream.reconfigure(errors=handler)
