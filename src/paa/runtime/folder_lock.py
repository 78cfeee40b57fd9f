"""One process writes a folder of results at a time.

The lock is the file `lock` in the folder, which its holder also locks by `flock` where the file system can. The file
names the holder's process and host, and when it started: for the message to others, and for systems without `flock`.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from paa.errors import RunError
from paa.runtime.locks import try_lock

log = logging.getLogger("paa")

LOCK = "lock"
_ATTEMPTS = 20
_ENDED = "ended"
_held: set[int] = set()


@contextmanager
def folder_lock(folder: Path, patience: float = 0.0) -> Iterator[None]:
    """Hold the lock of an existing folder; if another process holds it, RunError, which names that process.

    The lock of a process that was killed is taken over, and that is logged. patience: seconds to wait for a process
    that may be about to end.
    """
    path = folder / LOCK
    file = _acquire_within(path, patience)
    _held.add(file)
    try:
        yield
    finally:
        _held.discard(file)
        with suppress(OSError):
            if _is_file_at(file, path):
                path.unlink()
        os.close(file)


def _acquire_within(path: Path, patience: float) -> int:
    """Return the descriptor of the lock file as soon as this process has locked it; RunError if others hold it on."""
    until, said = time.monotonic() + patience, False
    while True:
        try:
            return _acquire(path)
        except RunError as error:
            if time.monotonic() >= until:
                raise
            if not said:
                log.info(f"{error}; trying again for {patience:.0f} s")
                said = True
        time.sleep(0.2)


def _acquire(path: Path) -> int:
    """Return the descriptor of the lock file, after this process has locked it and written its name into it."""
    for _ in range(_ATTEMPTS):
        created = True
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            created = False
            try:
                file = os.open(path, os.O_RDWR)
            except FileNotFoundError:
                continue  # released meanwhile
        try:
            locked = try_lock(file)
            holder = {} if created else _read(file)
            if locked is False or (locked is None and not created and _may_run(holder)):
                raise RunError(_refusal(path, holder, certain=locked is False or _is_here(holder)))
            if not _is_file_at(file, path):  # its holder removed it before it was locked here
                os.close(file)
                continue
            if holder:
                log.info(f"{path}: left by {_describe(holder)}, which no longer runs: lock taken over")
            _write(file)
            return file
        except BaseException:
            os.close(file)
            raise
    raise RunError(f"{path}: other processes lock and release it all the time; give another --output")


def _is_file_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _write(file: int) -> None:
    """Write into the lock file which process holds it."""
    content = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now().astimezone().isoformat(timespec="seconds"),
        "started": _started(os.getpid()),
    }
    os.ftruncate(file, 0)
    os.pwrite(file, (json.dumps(content) + "\n").encode(), 0)


def _read(file: int) -> dict[str, Any]:
    """Return what a lock file says of the process that holds it; empty if it is damaged or not written yet."""
    try:
        content = json.loads(os.pread(file, 4096, 0))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _is_here(holder: dict[str, Any]) -> bool:
    return holder.get("host") == socket.gethostname() and isinstance(holder.get("pid"), int)


def _may_run(holder: dict[str, Any]) -> bool:
    """Return whether the holder of a lock may still run; of a process on another host this is never ruled out."""
    if not _is_here(holder):
        return True
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return False
    except OSError:  # it runs, and is another user's
        pass
    started = _started(holder["pid"])
    return started is None or (started != _ENDED and holder.get("started") in (None, started))


def _started(pid: int) -> str | None:
    """Return when a process of this host started, which tells it from an earlier one of the same id; None if unknown.

    In ticks since the system's start, with the system's boot id. `_ENDED` for a process that has ended and whose parent
    has not noticed that yet.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        if fields[0] in ("Z", "X"):
            return _ENDED
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{fields[19]} {boot}"
    except (OSError, IndexError):
        return None


def _describe(holder: dict[str, Any]) -> str:
    if not {"pid", "host", "since"} <= set(holder):
        return "an unknown process"
    return f"process {holder['pid']} on {holder['host']} (since {holder['since']})"


def _refusal(path: Path, holder: dict[str, Any], certain: bool) -> str:
    """Return the error message for a second process. certain: whether the holder is known to run."""
    if certain:
        return f"{path.parent}: {_describe(holder)} is writing this run; wait for it, stop it, or give another --output"
    return (
        f"{path.parent}: {_describe(holder)} may be writing this run, which cannot be checked from "
        f"{socket.gethostname()}; if it is not, remove {path}, or give another --output"
    )


def _close_inherited() -> None:
    """Release the locks in a child process: a loader worker may outlive a training process that was killed."""
    for file in _held:
        with suppress(OSError):
            os.close(file)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)
