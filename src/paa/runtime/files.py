"""Writing files so that a reader, or a power cut, never meets one that is half written."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from paa.errors import RunError, format_bytes, one_line

_LONGEST_NAME = 255  # bytes, the limit of most file systems


@contextmanager
def whole_file(path: Path, *, durable: bool = True, folder: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path to write to; when all is written, also to the disk, the file is moved to `path`.

    An error or a power cut leaves the earlier file at `path` unchanged. durable: wait for the disk; without, a power
    cut may damage the file. folder: where the temporary file is, on the same disk; by default beside `path`. Its name
    is unique, so that two processes that write the same file do not mix their contents. RunError if the system cannot
    write the file.
    """
    temporary = _temporary_path(path if folder is None else folder / path.name)
    try:
        yield temporary
        if durable:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, RuntimeError) and "inline_container" not in str(error):  # torch.save's writer
            raise
        temporary.unlink(missing_ok=True)  # so that the message names the space that was free for the file
        raise cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path` to write to; when all is written, the folder is moved to `path`.

    An error leaves nothing behind. RunError if `path` exists already, unless it is an empty folder, and if the system
    cannot write.
    """
    check_new_folder(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_path(path)
    try:
        temporary.mkdir()
        yield temporary
        temporary.replace(path)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)  # so that the message names the space that was free
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary_path(path: Path) -> Path:
    """Return a new path beside a file: the file's name, shortened where it would be too long, and a unique ending."""
    ending = f".{os.getpid()}-{secrets.token_hex(4)}.tmp"
    name = path.name.encode("utf-8", "surrogateescape")
    if len(name) + len(ending) > _LONGEST_NAME:
        return path.with_name(name[: _LONGEST_NAME - len(ending)].decode("utf-8", "ignore") + ending)
    return path.with_name(path.name + ending)


def cannot_write(path: Path, error: Exception) -> RunError:
    """Return the error for a file that the system cannot write: the cause, and the free space on the disk."""
    cause = error if isinstance(error, OSError) else error.__context__  # torch's writer wraps the system's error
    why = cause.strerror if isinstance(cause, OSError) and cause.strerror else one_line(error)
    try:
        free = f", with {format_bytes(shutil.disk_usage(path.parent).free)} free on its disk"
    except OSError:
        free = ""
    kept = "; what it held before is unchanged" if path.is_file() else ""
    return RunError(f"{path}: cannot be written: {why}{free}{kept}")


def temporaries(folder: Path, names: Collection[str]) -> list[Path]:
    """Return the temporary files of `whole_file`, for files of these names, that killed processes left in a folder.

    To be called only while no other process writes files of these names, whose temporary files would be among them.
    """
    ours = re.compile(rf"({'|'.join(map(re.escape, names))})(\.\d+-[0-9a-f]{{8}})?\.tmp")
    return [path for path in folder.iterdir() if ours.fullmatch(path.name) and path.is_file()]


def remove_temporaries(folder: Path, names: Collection[str]) -> None:
    """Remove the temporary files that killed processes left; see `temporaries`."""
    for path in temporaries(folder, names):
        path.unlink(missing_ok=True)


def check_folder(path: Path) -> None:
    """Raise RunError unless `path` is a folder that can be written to, or can be made; the folder is not made here."""
    existing = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise RunError(f"{path}: cannot be written to: {existing} is not a writable folder")


def check_new_folder(path: Path) -> None:
    """Raise RunError unless `path` can be made, or is an empty folder that has a name."""
    if path.name in ("", ".."):
        raise RunError(f"{path}: name a new folder; it takes its place when all of it is written")
    if path.is_symlink() or (path.exists() and not (path.is_dir() and not any(path.iterdir()))):
        raise RunError(f"{path}: exists already, and is not overwritten; name a new folder")
    check_folder(path)


def copy_file(path: Path, copy: Path) -> None:
    """Give a file's content a second name, as `whole_file` does; without a copy where the file system has links."""
    temporary = _temporary_path(copy)
    try:
        os.link(path, temporary)
        temporary.replace(copy)
    except OSError:  # a file system without links
        with whole_file(copy) as temporary_copy:
            shutil.copyfile(path, temporary_copy)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file as `whole_file` does."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")  # file names may be invalid Unicode


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()
