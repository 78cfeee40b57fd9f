"""Two processes of a run, as torchrun starts them, but forked from one that has imported torch and paa already."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import wait
from pathlib import Path
from typing import NamedTuple

from torch.distributed import TCPStore

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["paa.commands.main", "paa.training.train", "paa.predictor", "paa.report.evaluation"])
"""Starts processes that have imported torch and paa already."""
_FAR_TOO_LONG = 900  # seconds; only so that processes that wait for each other do not stop the tests for ever
_GRACE = 30  # seconds that torchrun gives the other processes when one has failed


class Done(NamedTuple):
    """How a process ended: 0, or 1 for an exception, or the code of a SystemExit; and what it printed."""

    code: int | None
    stdout: str
    stderr: str


def in_two_processes(folder: Path, function: Callable[..., object], *arguments: object) -> list[Done]:
    """Call a function of a module in two processes that can join each other, and return how they ended.

    folder: for what they print. Where one process fails, the other is killed if it does not end by itself soon.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # the store is here, as torchrun has it: its port cannot be taken
        "TORCHELASTIC_RESTART_COUNT": "0",
    }
    processes = []
    for rank in ("0", "1"):
        environment = {**shared, "RANK": rank, "LOCAL_RANK": rank}
        process = CONTEXT.Process(target=_run, args=(folder / rank, environment, function, arguments))
        process.start()
        processes.append(process)
    running = {process.sentinel: process for process in processes}
    failed = False
    while running:
        ended = wait(list(running), _GRACE if failed else _FAR_TOO_LONG)
        if not ended:
            for process in running.values():
                process.kill()
        codes = [running.pop(sentinel).exitcode for sentinel in ended]  # type: ignore[index]
        failed = failed or any(codes)
    for process in processes:
        process.join()
    said = [[(folder / f"{rank}.{stream}").read_text() for stream in ("out", "err")] for rank in (0, 1)]
    return [Done(process.exitcode, *texts) for process, texts in zip(processes, said)]


def _run(
    prefix: Path, environment: dict[str, str], function: Callable[..., object], arguments: tuple[object, ...]
) -> None:
    os.environ.update(environment)
    for number, stream in ((1, "out"), (2, "err")):
        file = os.open(prefix.with_name(f"{prefix.name}.{stream}"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
    function(*arguments)
