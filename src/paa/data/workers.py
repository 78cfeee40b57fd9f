"""Failures of loader workers and of the memory they share, each reported in one line with a remedy."""

from __future__ import annotations

import errno
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Event, Timer
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from paa.data.batch import Batch
from paa.data.read_report import first_few
from paa.errors import RunError, format_bytes, one_line

SHARED_MEMORY = Path("/dev/shm")
_PAGE = 4096
_IN_PROCESS = "load in the main process instead: --workers 0"
_NONE = -1  # the position of an image, where none is read

Item = TypeVar("Item")


class WorkerEndedError(RunError):
    """A loader worker that ended before its work was done; another may take its place."""


class Reading:
    """The position of the image that each worker reads at the moment, in memory that all processes see."""

    def __init__(self, workers: int) -> None:
        self._positions = torch.full((workers,), _NONE)
        if workers:
            self._positions.share_memory_()

    def begin(self, worker: int) -> None:
        """Let this process be that worker: `note_reading` writes down what it reads from here on."""
        global _noted
        _noted = self._positions[worker]

    def of(self, worker: int) -> int | None:
        """Return the position of the image that a worker reads, or read when it ended; None between images."""
        position = int(self._positions[worker])
        return None if position == _NONE else position


_noted: Tensor | None = None  # (): the position of the image that this process reads, where it is a worker


def note_reading(position: int | None) -> None:
    """Write down which image this process reads now, where it is a loader worker; None: no image any more."""
    if _noted is not None:
        _noted.fill_(_NONE if position is None else position)


def start_workers(loader: DataLoader[Item]) -> Iterator[Item]:
    """Start the workers of a loader, and return its iterator, which learns of a worker's end where it awaits a batch.

    By torch's handler of the signal that a child has ended, the error would be raised wherever the main process just
    is: in the middle of a change of the weights.
    """
    before = signal.getsignal(signal.SIGCHLD)
    items = iter(loader)
    if threading.current_thread() is threading.main_thread() and before is not None:
        signal.signal(signal.SIGCHLD, before)
    return items


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
    killed = re.search(r"killed by signal: ([\w ]+)", said)
    if killed is None:
        return _open_files_error(error) or _ended_error(worker, f"ended unexpectedly ({one_line(error)})")
    return _ended_error(worker, killed[1].strip(), by_signal=True)


def _ended_error(worker: str, how: str, image: str | None = None, *, by_signal: bool = False) -> WorkerEndedError:
    """Return the error for a worker that ended; how: what happened, or the signal's name in words."""
    at = "" if image is None else f" at {image}"
    if not by_signal:
        return WorkerEndedError(f"{worker} {how}{at}; {_IN_PROCESS}")
    if how == "Bus error":
        reason = f"{SHARED_MEMORY} may be too small for a batch"
        return WorkerEndedError(f"{worker} was ended by a bus error{at}: {reason}; {_IN_PROCESS}")
    return WorkerEndedError(
        f"{worker} was ended by a signal ({how}){at}: the machine or its container may be out of memory; "
        f"take a smaller batch or fewer workers, or {_IN_PROCESS}"
    )


def receive(items: Iterator[Item], timeout: float, image_of: Callable[[int], str | None]) -> Iterator[Item]:
    """Yield the items of a DataLoader's iterator; when it fails, end its workers, whatever state they are in.

    The workers are also ended when no more items are wanted: they ignore the signal by which torch would end them.
    image_of: returns the image that a worker, by its number, reads. RunError if no item arrives in `timeout` seconds
    (0: no limit), WorkerEndedError if a worker ended; torch looks for that every five seconds. torch's own limit is not
    used: it counts only until a worker's message, not until the batch is here that the message announced, and with it
    torch would not look for workers that ended.
    """
    workers: Sequence[BaseProcess] = getattr(items, "_workers", ())
    while True:
        overdue = Event()

        def end(overdue: Event = overdue) -> None:
            overdue.set()
            _kill(workers)

        timer = Timer(timeout, end)
        timer.daemon = True
        try:
            if workers and timeout:
                timer.start()
            item = next(items)
        except StopIteration:
            return
        except BaseException as error:
            ended = [] if overdue.is_set() else _ended(workers, error)
            _end(workers)
            if overdue.is_set():
                images = [image for worker in range(len(workers)) if (image := image_of(worker)) is not None]
                raise _timeout_error(timeout, images) from error
            if ended and isinstance(error, (RuntimeError, OSError, EOFError)):
                raise _error_of(workers[ended[0]], image_of(ended[0])) from error
            raise
        finally:
            timer.cancel()
        try:
            yield item
        except GeneratorExit:
            _end(workers)
            raise


def _ended(workers: Sequence[BaseProcess], error: BaseException) -> list[int]:
    """Return which workers, by their numbers, have ended."""
    until = time.monotonic() + 1
    while True:
        ended = [number for number, worker in enumerate(workers) if not worker.is_alive()]
        # a connection may break a moment before the worker at its other end is gone
        if ended or not isinstance(error, (OSError, EOFError)) or time.monotonic() > until:
            return ended
        time.sleep(0.01)


def _error_of(worker: BaseProcess, image: str | None) -> WorkerEndedError:
    """Return the error for a worker that ended while it read an image."""
    code = worker.exitcode or 0
    if code < 0:
        return _ended_error(f"loader worker {worker.pid}", signal.strsignal(-code) or str(-code), image, by_signal=True)
    return _ended_error(f"loader worker {worker.pid}", f"ended unexpectedly (exit code {code})", image)


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


def _timeout_error(seconds: float, images: Sequence[str] = ()) -> RunError:
    at = f", while reading {first_few(images)}" if images else ""
    return RunError(
        f"no loader worker handed over a batch for {seconds:g} s (--worker-timeout){at}: the images' disk or network "
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
