"""The rendezvous that torchrun finds, on a store of this process, with machines that are objects."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from torch.distributed.elastic.rendezvous import RendezvousClosedError, RendezvousParameters

from paa.runtime.elastic import NOTICED_AFTER
from paa.runtime.rendezvous import NAME, Rendezvous, create, entry_point

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))  # as for a script in that folder

import two_hosts  # noqa: E402

Machine = Callable[[str], Rendezvous]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Return a function that makes a machine's rendezvous; all of them share a store, a file."""

    def make(address: str) -> Rendezvous:
        times = {"last_call_timeout": 1, "keep_alive_interval": 1, "keep_alive_max_attempt": 2, "store_type": "file"}
        parameters = RendezvousParameters(
            NAME, str(tmp_path / "store"), "job", min_nodes=1, max_nodes=2, local_addr=address, **times
        )
        made = entry_point()(parameters)
        assert isinstance(made, Rendezvous)
        return made

    with pytest.MonkeyPatch.context() as patch:
        for name in (NOTICED_AFTER, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"):
            patch.setenv(name, "")  # so that what the rendezvous sets ends with the test
        yield make


def meet(*machines: Rendezvous) -> list[tuple[int, int, int]]:
    """Let machines meet; return each one's rank, their number, and the port of the first one's store."""
    met: dict[int, tuple[int, int, int]] = {}

    def join(number: int) -> None:
        info = machines[number].next_rendezvous()
        assert info.bootstrap_store_info is not None
        met[number] = info.rank, info.world_size, info.bootstrap_store_info.master_port

    threads = [threading.Thread(target=join, args=(number,)) for number in range(len(machines))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return [met[number] for number in range(len(machines))]


def test_machines_come_and_go(machine: Machine) -> None:
    first, second = machine("10.0.0.1"), machine("10.0.0.2")
    assert (first.get_backend(), first.get_run_id(), os.environ[NOTICED_AFTER]) == ("paa", "job", "2")
    assert not first.use_agent_store
    (_, _, port), (_, _, same) = met = meet(first, second)
    assert [(rank, world) for rank, world, _ in met] == [(0, 2), (1, 2)]
    assert port == same
    assert (first.num_nodes_waiting(), second.num_nodes_waiting()) == (0, 0)

    second._inner._stop_heartbeats()  # as where the machine is lost
    until = time.monotonic() + 30
    while first.num_nodes_waiting() == 0:
        assert time.monotonic() < until
        time.sleep(0.1)
    ((rank, world, other_port),) = meet(first)
    assert (rank, world) == (0, 1)
    assert other_port != port
    assert first.num_nodes_waiting() == 0

    first.shutdown()
    assert first.is_closed()
    with pytest.raises(RendezvousClosedError):
        machine("10.0.0.3").next_rendezvous()


def test_torchrun_finds_it() -> None:
    name, _, value = two_hosts.ENTRY_POINT.partition(" = ")
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    assert lines[lines.index('[project.entry-points."torchrun.handlers"]') + 1] == f'{name} = "{value}"'
    assert (name, value) == (NAME, f"{entry_point.__module__}:{entry_point.__name__}")
    assert entry_point() is create
