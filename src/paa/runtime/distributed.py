"""The processes of a run: how many there are, what they exchange, and how they find each other."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from paa.errors import RunError, one_line
from paa.runtime.device import pick_device
from paa.runtime.memory import keeping_memory
from paa.runtime.stop_signals import end_with_torchrun

GPU_TIMEOUT = 600.0
"""Seconds that a process on a GPU waits for another one: nccl's default."""

_times_joined = itertools.count()


@dataclass(frozen=True)
class Process:
    """This process: its device and its rank; the run has `world` processes, `on_host` of them on this machine."""

    device: torch.device
    rank: int = 0
    world: int = 1
    on_host: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and the log."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of a tensor over all processes; where there are several, it carries no gradient."""
        if self.world == 1:
            return values
        values = values.detach().clone()
        dist.all_reduce(values)
        return values / self.world

    def gather(self, value: Any) -> list[Any]:
        """Return every process's picklable value, in the order of their ranks, in every process."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def any(self, value: bool) -> bool:
        """Return, in every process, whether the value is true in one of them."""
        if self.world == 1:
            return value
        # not on a GPU where it can be helped: reading the result would wait for all that the GPU still computes
        on_cpu = "gloo" in dist.get_backend_config() if self.device.type == "cuda" else True
        flag = torch.tensor(int(value), device="cpu" if on_cpu else self.device)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag)

    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite these tensors, in every process, with those of the first."""
        if self.world > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)


class LostProcessError(RunError):
    """Another process of the run has ended, or cannot be reached any more."""


@contextmanager
def start(device: str | None, timeout: float | None = None) -> Iterator[Process]:
    """Join the processes that torchrun started (gloo for CPUs, nccl for GPUs); without torchrun, be the only process.

    device: as for `pick_device`. timeout: seconds after which a process that waits for another one counts it as lost;
    None for 1800 on CPUs (gloo's default) and 600 on GPUs (nccl's). RunError where a device is missing or the processes
    cannot reach each other, LostProcessError where they cannot any more.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = pick_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if world > 1 and device is not None and ":" in device:
        raise RunError(f"device {device!r} would be shared by all {world} processes; with cuda each takes its own")
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    with keeping_memory() if chosen.type == "cpu" else nullcontext(), _joined(chosen, world, timeout) as process:
        yield process


@contextmanager
def _joined(chosen: torch.device, world: int, timeout: float | None) -> Iterator[Process]:
    """Join the other processes, if there are any, on the device that was chosen; errors as of `start`."""
    if world == 1:
        yield Process(chosen)
        return
    end_with_torchrun()
    joined_before = dist.is_initialized()  # by the program that calls us, which goes on using its group
    try:
        if not joined_before:
            if chosen.type == "cuda":  # for two backends torch would take gloo's timeout, three times that of nccl
                _join("cpu:gloo,cuda:nccl", GPU_TIMEOUT if timeout is None else timeout)
            else:
                _join("gloo", timeout)
    except ValueError as error:
        message = f"WORLD_SIZE is {world}, but the processes cannot reach each other: {error}; use torchrun"
        raise RunError(message) from error
    log, level = logging.getLogger("paa"), logging.getLogger("paa").level
    try:
        if dist.get_rank() > 0:
            log.setLevel(logging.ERROR)  # what all processes find is logged by the first one only
        yield Process(chosen, dist.get_rank(), world, int(os.environ.get("LOCAL_WORLD_SIZE", world)))
    except RuntimeError as error:
        if not _is_about_others(error):
            raise
        raise LostProcessError(
            f"process {os.environ.get('RANK')} of {world} lost another one, which has ended, or cannot be reached "
            f"({one_line(error)}); a training run goes on from its last checkpoint with --resume"
        ) from error
    finally:
        log.setLevel(level)
        if not joined_before:
            dist.destroy_process_group()


def _is_about_others(error: RuntimeError) -> bool:
    """Return whether an error is one of communication with other processes; gloo has no class for its errors."""
    return isinstance(error, dist.DistError) or "/gloo/" in str(error)


def _join(backend: str, timeout: float | None) -> None:
    """Make the group of all processes; ValueError if the environment does not say where they meet.

    A program may join several times. torchrun's store keeps the addresses of each time, so each time has a prefix.
    """
    store, rank, world = next(rendezvous("env://"))
    prefix = f"paa-{next(_times_joined)}"
    limit = None if timeout is None else timedelta(seconds=timeout)
    dist.init_process_group(backend, timeout=limit, store=PrefixStore(prefix, store), rank=rank, world_size=world)
