"""Read bytes of a file that may be shorter than it claims, and quote its text in messages."""

from __future__ import annotations

import io
import os
from typing import BinaryIO


def take(file: BinaryIO, count: int) -> bytes:
    """Read exactly that many bytes; EOFError if the file has fewer."""
    if count > io.DEFAULT_BUFFER_SIZE:  # the check costs more than reading a few bytes
        check_left(file, count)
    data = file.read(count)
    if len(data) != count:
        raise EOFError("cut short")
    return data


def check_left(file: BinaryIO, count: int) -> None:
    """Raise EOFError unless the file has that many bytes left, so that no memory is allocated for what is missing."""
    position = file.tell()
    left = file.seek(0, os.SEEK_END) - position
    file.seek(position)
    if not 0 <= count <= left:
        raise EOFError("cut short")


def short(text: str) -> str:
    """Return text from a file, escaped and shortened, so that it fits a message of one line."""
    line = text.encode("unicode_escape").decode("ascii")
    return line if len(line) <= 100 else f"{line[:97]}..."
