"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from paa.errors import RunError, format_bytes, one_line

_LONGEST_NAME = 255  # bytes, of most file systems


@contextmanager
def whole_file(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path to write to, which takes the place of `path` when all is written, also on the disk.

    After an error, or a power cut, what was at `path` before is still there; without `durable`, which waits for the
    disk, only after an error. The temporary name is unique, so that two processes that write the same file do not mix
    their contents. RunError if the system cannot write the file.
    """
    temporary = _temporary_path(path)
    try:
        yield temporary
        if durable:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, RuntimeError) and "inline_container" not in str(error):  # torch.save's writer
            raise
        temporary.unlink(missing_ok=True)  # what is free afterwards is what there was for the file
        raise cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _temporary_path(path: Path) -> Path:
    """Return a new path beside a file: its name, cut where it would be too long, and an ending."""
    ending = f".{os.getpid()}-{secrets.token_hex(4)}.tmp"
    name = path.name.encode("utf-8", "surrogateescape")
    if len(name) + len(ending) > _LONGEST_NAME:
        return path.with_name(name[: _LONGEST_NAME - len(ending)].decode("utf-8", "ignore") + ending)
    return path.with_name(path.name + ending)


def cannot_write(path: Path, error: Exception) -> RunError:
    """Return the error for a file that the system cannot write: why, and how much room there is."""
    cause = error if isinstance(error, OSError) else error.__context__  # torch's writer hides the system's error
    why = cause.strerror if isinstance(cause, OSError) and cause.strerror else one_line(error)
    try:
        room = f", with {format_bytes(shutil.disk_usage(path.parent).free)} free on its disk"
    except OSError:
        room = ""
    kept = "; what it held before is unchanged" if path.is_file() else ""
    return RunError(f"{path}: cannot be written: {why}{room}{kept}")


def temporaries(folder: Path, names: Collection[str]) -> list[Path]:
    """Return what `whole_file` left in a folder, for files of these names, when its process was killed.

    Only where no other process writes these files: otherwise they may be that one's.
    """
    ours = re.compile(rf"({'|'.join(map(re.escape, names))})(\.\d+-[0-9a-f]{{8}})?\.tmp")
    return [path for path in folder.iterdir() if ours.fullmatch(path.name) and path.is_file()]


def remove_temporaries(folder: Path, names: Collection[str]) -> None:
    """Remove what `temporaries` returns."""
    for path in temporaries(folder, names):
        path.unlink(missing_ok=True)


def check_folder(path: Path) -> None:
    """Raise RunError unless `path` is a folder, or can be made one, and can be written to; nothing is made."""
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise RunError(f"{path}: nothing can be written there: {there} is not a folder one can write to")


def write_text(path: Path, text: str) -> None:
    """Write a text file so that it is there whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")  # names of files may be no Unicode
