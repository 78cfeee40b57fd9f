"""Machines that come and go while a run goes on: `torchrun --nnodes 1:4 --rdzv-backend paa`.

torchrun finds this rendezvous by the entry point `torchrun.handlers` of pyproject.toml. It is torchrun's own one, c10d,
with three differences. torchrun takes a machine that disappears for a failure of the processes that miss it, which ends
the job, or uses up one of its --max-restarts; here it is a change of the machines, as one that joins is: the processes
are ended, and started again on the machines that are left. And c10d has one store for the processes of all starts, on
the machine that was first: it may be gone, and knows addresses of earlier processes; here each start has its own. And
a machine that cannot reach the rendezvous' store gives up after its read_timeout, in c10d after a quarter of an hour.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from torch._C._distributed_c10d import TCPStore
from torch.distributed.elastic.rendezvous import RendezvousHandler, RendezvousInfo, RendezvousParameters
from torch.distributed.elastic.rendezvous.c10d_rendezvous_backend import create_backend
from torch.distributed.elastic.rendezvous.dynamic_rendezvous import DynamicRendezvousHandler, create_handler

from paa.runtime.elastic import NOTICED_AFTER

NAME = "paa"


def entry_point() -> Callable[[RendezvousParameters], RendezvousHandler]:
    """Return the function that makes the rendezvous, as torchrun wants it of an entry point."""
    return create


def create(parameters: RendezvousParameters) -> RendezvousHandler:
    """Return the rendezvous for torchrun's parameters, which are those of c10d."""
    interval = parameters.get_as_int("keep_alive_interval", 5) or 0
    attempts = parameters.get_as_int("keep_alive_max_attempt", 3) or 0
    # inherited by the processes that torchrun starts
    os.environ[NOTICED_AFTER] = str(interval * attempts)
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # c10d's option for a new store at each start
    backend, store = create_backend(parameters)
    if isinstance(store, TCPStore) and sys.platform == "linux":
        _limit_silence(store.port, parameters.get_as_int("read_timeout", 60) or 0)
    return Rendezvous(create_handler(store, backend, parameters))


def _limit_silence(port: int, seconds: int) -> None:
    """Have the system end this process's connections to a port when what was sent stays unanswered for that long.

    torch's store gives up a request in time, but then waits for the answer to the withdrawal of that request, for ever.
    """
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if path.readlink().name.startswith("socket:"):
                with socket.socket(fileno=os.dup(int(path.name))) as connection:
                    if connection.family in (socket.AF_INET, socket.AF_INET6) and connection.getpeername()[1] == port:
                        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * seconds)


class Rendezvous(RendezvousHandler):
    """torchrun's rendezvous c10d, for which a machine that is missed is a reason to meet again."""

    def __init__(self, inner: DynamicRendezvousHandler) -> None:
        self._inner, self._joined = inner, 0

    def get_backend(self) -> str:
        """Return the name that follows --rdzv-backend."""
        return NAME

    def next_rendezvous(self) -> RendezvousInfo:
        """Wait for the other machines, and return this machine's rank among them."""
        info = self._inner.next_rendezvous()
        self._joined = info.world_size
        return info

    def num_nodes_waiting(self) -> int:
        """Return how many machines wait to join or are missed; torchrun starts its processes again if there are any.

        A machine is missed that gave no sign of life for keep_alive_interval x keep_alive_max_attempt seconds, or that
        has left in order to meet again.
        """
        waiting = self._inner.num_nodes_waiting()
        missed = self._joined - len(self._inner._state_holder.state.participants)
        return max(waiting, missed)

    def is_closed(self) -> bool:
        """Return whether the job is over."""
        return self._inner.is_closed()

    def set_closed(self) -> None:
        """End the job for all machines."""
        self._inner.set_closed()

    def get_run_id(self) -> str:
        """Return the job's name."""
        return self._inner.get_run_id()

    def shutdown(self) -> bool:
        """End the job, where the store can still be reached."""
        return self._inner.shutdown()
