"""Errors that the user's input causes: one class for each kind, each message one line that names the file and a remedy.

The command line prints the message and exits with 2; a program catches `PaaError`.
"""

import re

_ERRNO = re.compile(r"^\[Errno -?\d+\] ")


def one_line(error: Exception, max_length: int = 160) -> str:
    """Return an error's message as one line of at most `max_length` characters; its class name if it has no message.

    The number of an error of the system is left out.
    """
    line = " ".join(_ERRNO.sub("", str(error)).split()) or type(error).__name__
    return line if len(line) <= max_length else f"{line[: max_length - 3]}..."


def format_bytes(count: int) -> str:
    """Return a number of bytes in a readable unit: 512 bytes, 64.0 MB."""
    size, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"


class PaaError(Exception):
    """Base of every error that the user's input causes."""


class DataError(PaaError):
    """A data set that is missing, empty, or not in the format that was named or recognised."""


class MissingSplitError(DataError):
    """A split that a data set does not have."""


class AnnotationError(DataError):
    """An annotation that cannot be used: an unknown image or class, a box with NaN or negative sides."""


class ImageError(DataError):
    """An image that cannot be read or decoded."""


class TooManyPixelsError(ImageError):
    """An image of more pixels than the limit, which is not decoded."""


class TooManyBytesError(ImageError):
    """A file at a URL of more bytes than the limit, which is not fetched to its end."""


class CheckpointError(PaaError):
    """A checkpoint that cannot be read, or does not fit the model."""


class ConfigError(PaaError):
    """Settings that contradict each other or name something unknown."""


class RunError(PaaError):
    """A run that cannot start or continue: its folder is in use, a device is missing, a loss is not finite."""
