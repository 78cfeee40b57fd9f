"""The engine `processes`: worker processes on this machine."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing
from dataclasses import replace
from multiprocessing.connection import Connection

from paa.batch_inference.shards import Shard
from paa.batch_inference.task import TRIES, ShardDone, ShardTask, worker_died
from paa.runtime.stop_signals import ignore_stop_signals

log = logging.getLogger("paa")


def in_processes(
    task: ShardTask, shards: Sequence[Shard], workers: int | None = None
) -> Generator[ShardDone, None, None]:
    """Yield each shard when it is done, in any order.

    workers: processes; by default one for each GPU, or else for each CPU core. With one, this process does the work.
    When a worker dies, another one takes its place and its shard. RunError for a shard at which three died.
    """
    devices = _devices(task.detector.device)
    workers = min(workers or (len(devices) if devices != ["cpu"] else _cores()), len(shards))
    if workers == 1:
        yield from map(task, shards)
        return
    waiting, deaths = deque(shards), Counter[int]()
    running: dict[Future[ShardDone], tuple[_Worker, Shard]] = {}
    with ExitStack() as stack:
        for number in range(workers):
            on_device = replace(task, detector=replace(task.detector, device=devices[number % len(devices)]))
            worker = stack.enter_context(closing(_Worker(on_device, max(1, _cores() // workers))))
            shard = waiting.popleft()
            running[worker.begin(shard)] = (worker, shard)
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                worker, shard = running.pop(future)
                try:
                    yield future.result()
                except BrokenProcessPool:
                    deaths[shard.number] += 1
                    if deaths[shard.number] == TRIES:
                        raise worker_died(shard) from None
                    log.warning("a worker process died at %s, which is begun again", shard.span)
                    waiting.appendleft(shard)
                if waiting:
                    shard = waiting.popleft()
                    running[worker.begin(shard)] = (worker, shard)


class _Worker:
    """A pool of one process, so that its death ends nothing else; a new process takes the place of one that died."""

    def __init__(self, task: ShardTask, threads: int) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["paa.batch_inference.task"])  # torch is imported once for all workers
        self._ends, self._kept = self._context.Pipe(duplex=False)
        self._arguments = (task, self._ends, threads)
        self._pool = self._new_pool()

    def begin(self, shard: Shard) -> Future[ShardDone]:
        """Let the process do a shard."""
        try:
            return self._pool.submit(_work, shard)
        except BrokenProcessPool:
            self._pool.shutdown()
            self._pool = self._new_pool()
            return self._pool.submit(_work, shard)

    def close(self) -> None:
        """End the process, also in the midst of a shard: it reads an end of file."""
        self._kept.close()
        self._pool.shutdown()
        self._ends.close()

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, self._context, _start, self._arguments)


_task: Callable[[Shard], ShardDone]


def _start(task: ShardTask, ends: Connection, threads: int) -> None:
    """Prepare a worker: its threads, and its end with the process that started it, however that ends."""
    global _task
    import torch

    ignore_stop_signals()
    threading.Thread(target=_end_with, args=(ends,), daemon=True).start()
    torch.set_num_threads(threads)
    _task = task


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
