"""Failures of loader workers and of the memory they share, each reported in one line with a remedy."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Event, Timer
from typing import TypeVar

from paa.data.batch import Batch
from paa.errors import RunError, format_bytes, one_line

SHARED_MEMORY = Path("/dev/shm")
_PAGE = 4096
_IN_PROCESS = "load in the main process instead: --workers 0"
_GRACE = 5.0  # seconds that torch's own time limit gets before workers are killed

Item = TypeVar("Item")


def shared_bytes(batch: Batch) -> int:
    """Return the bytes that a batch takes in shared memory: whole pages for each tensor."""
    sizes = [tensor.untyped_storage().nbytes() for tensor in vars(batch).values()]
    return sum(-(-size // _PAGE) * _PAGE for size in sizes)


def check_shared_memory(needed: int) -> None:
    """Raise RunError unless that many bytes fit in /dev/shm, through which workers hand over batches on Linux.

    Without this check the transfer fails in a background thread of a worker, and the main process waits for ever.
    """
    try:
        found = os.statvfs(SHARED_MEMORY)
    except (OSError, AttributeError):  # a system that shares memory by other means
        return
    free, size = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    if size > 0 and free < needed:  # a tmpfs without a limit has size 0
        raise RunError(
            f"{SHARED_MEMORY}, through which loader workers hand over batches, is too small: {format_bytes(size)}, "
            f"{format_bytes(free)} of it free, {format_bytes(needed)} needed; {_IN_PROCESS} (or take a smaller batch, "
            "or enlarge it: docker run --shm-size=2g)"
        )


def share(batch: Batch) -> None:
    """Move a batch into shared memory, through which it reaches another process uncopied; RunError if it does not fit.

    Done by a worker before it hands the batch over, as long as an error can still be reported.
    """
    check_shared_memory(shared_bytes(batch))
    try:
        for tensor in vars(batch).values():
            tensor.share_memory_()
    except (RuntimeError, OSError) as error:
        check_shared_memory(shared_bytes(batch))  # another worker may have taken the space meanwhile
        raise _open_files_error(error) or RunError(
            f"a loader worker cannot share a batch ({one_line(error)}); {_IN_PROCESS}"
        ) from error


def worker_error(error: Exception) -> RunError | None:
    """Return the one-line error for a failure of loader workers that torch or the system reported; None for others."""
    said = " ".join(str(e) for e in (error, error.__cause__, error.__context__) if e is not None)
    if not re.search(r"DataLoader (worker \(|timed out)|Pin memory thread", said):
        return None
    if late := re.search(r"timed out after ([\d.]+) seconds", said):
        return _timeout_error(float(late[1]))
    pids = re.search(r"pid(?:\(s\))? ([\d, ]+)", said)
    worker = f"loader worker {pids[1]}" if pids else "a loader worker"
    signal = re.search(r"killed by signal: ([\w ]+)", said)
    if signal and signal[1] == "Bus error":
        return RunError(f"{worker} ended by a bus error: {SHARED_MEMORY} may be too small for a batch; {_IN_PROCESS}")
    if signal:
        return RunError(
            f"{worker} was ended by a signal ({signal[1]}): the machine or its container may be out of memory; "
            f"take a smaller batch or fewer workers, or {_IN_PROCESS}"
        )
    return _open_files_error(error) or RunError(f"{worker} ended unexpectedly ({one_line(error)}); {_IN_PROCESS}")


def receive(items: Iterator[Item], timeout: float) -> Iterator[Item]:
    """Yield the items of a DataLoader's iterator; when it fails, end its workers, whatever state they are in.

    The workers are also ended when no more items are wanted: they ignore the signal by which torch would end them.
    RunError if no item arrives in `timeout` seconds and a little more (0: no limit). torch limits only the wait for a
    worker's message: it waits without limit for the batch that a message announced, and for a stopped worker to end.
    """
    workers: Sequence[BaseProcess] = getattr(items, "_workers", ())
    while True:
        overdue = Event()

        def end(overdue: Event = overdue) -> None:
            overdue.set()
            _kill(workers)

        timer = Timer(timeout + _GRACE, end)
        timer.daemon = True
        try:
            if workers and timeout:
                timer.start()
            item = next(items)
        except StopIteration:
            return
        except BaseException as error:
            _end(workers)
            if overdue.is_set():
                raise _timeout_error(timeout) from error
            raise
        finally:
            timer.cancel()
        try:
            yield item
        except GeneratorExit:
            _end(workers)
            raise


def _kill(workers: Sequence[BaseProcess]) -> None:
    for worker in workers:
        with suppress(ValueError, OSError):  # closed, or gone
            worker.kill()


def _end(workers: Sequence[BaseProcess]) -> None:
    """Kill workers and wait for their end, at which torch's signal handler raises another error."""
    for step in (_kill, _kill, _join):  # killed twice: that error may interrupt the first round
        with suppress(RuntimeError):
            step(workers)


def _join(workers: Sequence[BaseProcess]) -> None:
    for worker in workers:
        with suppress(RuntimeError, AssertionError, ValueError):
            worker.join(1)


def _timeout_error(seconds: float) -> RunError:
    return RunError(
        f"no loader worker handed over a batch for {seconds:g} s (--worker-timeout): the images' disk or network "
        f"folder may hang; {_IN_PROCESS}"
    )


@contextmanager
def worker_errors(communicates: bool = False) -> Iterator[None]:
    """Turn failures of loader workers that arise inside into RunErrors of one line; leave all other errors.

    communicates: the code inside only starts workers and receives from them, so that every error of the
    operating system is theirs.
    """
    try:
        yield
    except (RuntimeError, OSError, EOFError) as error:
        named = worker_error(error)
        if named is None and communicates:
            named = _open_files_error(error)
            in_worker = str(error).startswith("Caught ")  # a bug, with its traceback
            if named is None and not isinstance(error, RuntimeError) and not in_worker:
                named = RunError(f"loader workers cannot be started or reached ({one_line(error)}); {_IN_PROCESS}")
        if named is None:
            raise
        raise named from error


def _open_files_error(error: Exception) -> RunError | None:
    """Return the one-line error if the limit on open files was exceeded; None for other errors."""
    said = str(error)
    if getattr(error, "errno", None) == errno.EMFILE or "Too many open files" in said or "ancdata" in said:
        return RunError(f"too many open files for loader workers: raise the limit (ulimit -n 65536), or {_IN_PROCESS}")
    return None
