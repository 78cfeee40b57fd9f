"""Reading text files in any of Unicode's encodings."""

from __future__ import annotations

import codecs
from pathlib import Path

from paa.errors import DataError, one_line

_HEAD = 4096  # bytes, enough to tell what a file is

_MARKS = (  # UTF-32's before UTF-16's, with which it begins
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(file: Path) -> str:
    """Return the text of a file in UTF-8, or in the encoding of its byte order mark. Raises DataError."""
    try:
        return decode_text(file.read_bytes())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read as text: {one_line(error)}") from error


def decode_text(content: bytes) -> str:
    """Return the content of a text file as text whose lines end in a newline.

    The encoding is that of the byte order mark; without a mark it is UTF-8, or UTF-16 where the first character has a
    zero byte. Raises UnicodeDecodeError, also for a text with zero bytes, which is a binary file.
    """
    bare = {b"\0": "utf-16-be"}.get(content[:1], "utf-16-le" if content[1:2] == b"\0" else "utf-8")
    text = content.decode(marked_encoding(content) or bare)
    if "\0" in text:
        raise UnicodeDecodeError(bare, content, content.index(b"\0"), content.index(b"\0") + 1, "a zero byte")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def marked_encoding(content: bytes) -> str | None:
    """Return the encoding of the byte order mark that a content begins with, None without a mark."""
    return next((name for mark, name in _MARKS if content.startswith(mark)), None)


def read_head(file: Path) -> bytes:
    """Return the first 4 KiB of a file; nothing if the file cannot be read."""
    try:
        with file.open("rb") as stream:
            return stream.read(_HEAD)
    except OSError:
        return b""
