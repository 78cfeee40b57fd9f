"""Processes and devices: the one file that knows how many there are."""

from __future__ import annotations

import ctypes
import itertools
import logging
import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from paa.errors import RunError

_times_joined = itertools.count()


@dataclass(frozen=True)
class Process:
    """One of the `world` processes of a run, `on_host` of which are on this machine, and its device."""

    device: torch.device
    rank: int = 0
    world: int = 1
    on_host: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes the files and the log."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of a tensor over all processes; over several it carries no gradient."""
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

    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite these tensors, in every process, with those of the first."""
        if self.world > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)


def pick_device(name: str | None, local_rank: int = 0) -> torch.device:
    """Return the device of that name, or the best there is; RunError if there is no such device."""
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise RunError(f"unknown device {name!r}: expected cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise RunError(f"device {name!r} is not supported: expected cpu, cuda or cuda:N")
    if device.type == "cuda":
        number = local_rank if device.index is None else device.index
        if number >= torch.cuda.device_count():
            raise RunError(f"device {name!r} does not exist: this machine has {torch.cuda.device_count()} GPUs")
        device = torch.device("cuda", number)
    return device


def has_bfloat16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 matrices in hardware; others take far longer than in float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def keep_memory(keep: bool = True) -> None:
    """Have this process keep what it frees, where it computes on a CPU; without glibc nothing is done.

    glibc maps what is larger than 32 MB, such as a ResNet's first stage at 800 pixels, anew each time, and the system
    clears it page by page. keep: False sets the limits that glibc itself arrives at.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    trim_threshold, top_pad, mmap_threshold, mmap_max = -1, -2, -3, -4  # malloc.h
    limits = {mmap_max: 0, trim_threshold: -1, top_pad: 2**26}
    if not keep:
        limits = {mmap_max: 2**16, mmap_threshold: 2**25, trim_threshold: 2**26, top_pad: 2**17}
    libc = ctypes.CDLL(None)
    for limit, value in limits.items():
        libc.mallopt(limit, value)


@contextmanager
def start(device: str | None) -> Iterator[Process]:
    """Join the processes that torchrun started (gloo on CPUs, nccl on GPUs), or be the only one."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = pick_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if chosen.type == "cpu":
        keep_memory()
    if world > 1 and device is not None and ":" in device:
        raise RunError(f"device {device!r} is one for all {world} processes; say cuda, and each takes its own")
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if world == 1:
        yield Process(chosen)
        return
    joined_before = dist.is_initialized()  # by the program that calls us, which goes on using its group
    try:
        if not joined_before:
            _join("nccl" if chosen.type == "cuda" else "gloo")
    except ValueError as error:
        raise RunError(f"WORLD_SIZE is {world}, but the processes cannot meet: {error}; use torchrun") from error
    log, level = logging.getLogger("paa"), logging.getLogger("paa").level
    try:
        if dist.get_rank() > 0:
            log.setLevel(logging.ERROR)  # the first process says what all of them find
        yield Process(chosen, dist.get_rank(), world, int(os.environ.get("LOCAL_WORLD_SIZE", world)))
    finally:
        log.setLevel(level)
        if not joined_before:
            dist.destroy_process_group()


def _join(backend: str) -> None:
    """Make the group of all processes; ValueError if the environment does not say where they meet.

    A program may do so several times. torchrun's store keeps the addresses of each time, so each has a prefix.
    """
    store, rank, world = next(rendezvous("env://"))
    prefix = f"paa-{next(_times_joined)}"
    dist.init_process_group(backend, store=PrefixStore(prefix, store), rank=rank, world_size=world)
