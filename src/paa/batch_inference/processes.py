"""The engine `processes`: a pool of worker processes on this machine."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from paa.batch_inference.shards import Shard
from paa.batch_inference.task import ShardDone, ShardTask
from paa.errors import RunError
from paa.runtime.stop_signals import ignore_stop_signals

log = logging.getLogger("paa")

_FRUITLESS = 3  # pools in a row that broke before a shard was finished


def in_processes(
    task: ShardTask, shards: Sequence[Shard], workers: int | None = None
) -> Generator[ShardDone, None, None]:
    """Yield each shard when it is done, in any order.

    workers: processes; by default one for each GPU, or else for each CPU core. With one, this process does the work.
    When a worker dies, its pool ends, and a new one begins the unfinished shards again.
    """
    devices = _devices(task.detector.device)
    workers = workers or (len(devices) if devices != ["cpu"] else _cores())
    if workers == 1:
        yield from map(task, shards)
        return
    waiting = {shard.number: shard for shard in shards}
    fruitless = 0
    while waiting:
        before = len(waiting)
        with _pool(task, min(workers, before), devices) as pool:
            for future in as_completed([pool.submit(_work, shard) for shard in waiting.values()]):
                try:
                    done = future.result()
                except BrokenProcessPool:
                    continue
                del waiting[done.number]
                yield done
        fruitless = fruitless + 1 if len(waiting) == before else 0
        if fruitless == _FRUITLESS:
            raise RunError(
                f"the worker processes died {_FRUITLESS} times before a shard was finished: is memory short?"
            )
        if waiting:
            log.warning("a worker process died; the %d shards that are not finished are begun again", len(waiting))


@contextmanager
def _pool(task: ShardTask, workers: int, devices: Sequence[str]) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool whose workers end with this block or with this process, however it ends, in the midst of a shard."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["paa.batch_inference.task"])  # torch is imported once for all workers
    ends, kept = context.Pipe(duplex=False)
    threads = max(1, _cores() // workers)
    numbers = context.Value("i", 0)
    pool = ProcessPoolExecutor(workers, context, _start, (task, ends, numbers, list(devices), threads))
    try:
        yield pool
    except BaseException:
        kept.close()  # the workers read an end of file
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        kept.close()
        ends.close()


_task: Callable[[Shard], ShardDone]


def _start(task: ShardTask, ends: Connection, numbers: Any, devices: Sequence[str], threads: int) -> None:
    """Prepare a worker: its device, its threads, and its end with the process that started it."""
    global _task
    import torch

    ignore_stop_signals()
    threading.Thread(target=_end_with, args=(ends,), daemon=True).start()
    torch.set_num_threads(threads)
    with numbers.get_lock():
        number = numbers.value
        numbers.value += 1
    _task = replace(task, detector=replace(task.detector, device=devices[number % len(devices)]))


def _work(shard: Shard) -> ShardDone:
    return _task(shard)


def _end_with(ends: Connection) -> None:
    """Wait until the other end is closed, and end this process at once: what it has begun to write is not there yet."""
    ends.poll(None)
    os._exit(1)


def _devices(given: str | None) -> list[str]:
    """Return the devices that workers take in turn."""
    import torch

    if given not in (None, "cuda"):
        return [str(given)]
    return [f"cuda:{number}" for number in range(torch.cuda.device_count())] or [given or "cpu"]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
