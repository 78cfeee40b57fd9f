"""Several hosts on one machine, made of network namespaces: each has an address of its own, and a cable to pull.

Each host is a namespace with a network card `net0`, at one end of a cable to a switch, which is a namespace too. Hosts
share the machine's files, as a network file system would have them. Its processes have process ids of their own, and
all of them die at once where the host does. Needs Linux, root, and the commands `ip` and `unshare`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import TracebackType

PORT = 29500
STORE = f"""
import time
from torch.distributed import TCPStore
store = TCPStore("0.0.0.0", {PORT}, is_master=True, wait_for_workers=False)
time.sleep(1e9)
"""
"""A program that holds torchrun's store, on a host that takes no part in the training."""
ENTRY_POINT = "paa = paa.runtime.rendezvous:entry_point"

_made = 0


@cache
def why_not() -> str | None:
    """Return why no hosts can be made here; None if they can."""
    if missing := [command for command in ("ip", "unshare", "hostname") if shutil.which(command) is None]:
        return f"the command {missing[0]} is not installed"
    try:
        with Hosts(1):
            return None
    except subprocess.CalledProcessError as error:
        return f"no network namespace can be made here (needs root): {error.stderr.strip()}"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Hosts:
    """Hosts that see each other, numbered from 1, at the addresses 10.77.0.1, 10.77.0.2 and so on."""

    def __init__(self, count: int) -> None:
        global _made
        _made += 1
        self._prefix = f"paa-{os.getpid()}-{_made}"
        self._switch = f"{self._prefix}-switch"
        self._names = {number: f"{self._prefix}-{number}" for number in range(1, count + 1)}
        self._programs: list[Program] = []

    def __enter__(self) -> Hosts:
        try:
            _ip("netns", "add", self._switch)
            _ip("-n", self._switch, "link", "add", "switch", "type", "bridge", "forward_delay", "0")
            _ip("-n", self._switch, "link", "set", "switch", "up")
            for number, name in self._names.items():
                _ip("netns", "add", name)
                cable = ("type", "veth", "peer", "name", f"port{number}", "netns", self._switch)
                _ip("-n", name, "link", "add", "net0", *cable)
                _ip("-n", name, "address", "add", f"{self.address(number)}/24", "dev", "net0")
                _ip("-n", name, "link", "set", "lo", "up")
                _ip("-n", name, "link", "set", "net0", "up")
                _ip("-n", self._switch, "link", "set", f"port{number}", "master", "switch", "up")
        except subprocess.CalledProcessError:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for program in self._programs:
            program.kill()
        self._remove()

    def _remove(self) -> None:
        for name in (*self._names.values(), self._switch):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)

    def address(self, number: int) -> str:
        """Return the address of a host."""
        return f"10.77.0.{number}"

    def cut(self, number: int) -> None:
        """Pull the cable of a host: what is sent is lost, and nobody is told."""
        _ip("-n", self._switch, "link", "set", f"port{number}", "down")

    def mend(self, number: int) -> None:
        """Put the cable of a host back."""
        _ip("-n", self._switch, "link", "set", f"port{number}", "up")

    def start(self, number: int, command: Sequence[str], log: Path, environment: Mapping[str, str] = {}) -> Program:
        """Start a program on a host, whose output is added to a file."""
        host = ["ip", "netns", "exec", self._names[number]]
        host += ["unshare", "--uts", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"]
        host += ["sh", "-c", f'hostname host{number} && exec "$@"', "sh"]
        shared = {"GLOO_SOCKET_IFNAME": "net0", "NCCL_SOCKET_IFNAME": "net0"}
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*host, *command], stdout=output, stderr=output, env={**os.environ, **shared, **environment}
            )
        self._programs.append(Program(process))
        return self._programs[-1]


class Program:
    """A program on a host, with all processes that it starts."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the program's first process alone."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        os.kill(int(children[0]), number)

    def kill(self) -> None:
        """End all processes of the program by SIGKILL, at once."""
        self._process.kill()  # of `unshare`, which takes the process namespace with it
        self._process.wait()

    @property
    def running(self) -> bool:
        """Whether the program's first process runs."""
        return self._process.poll() is None

    def wait(self, seconds: float) -> int:
        """Wait for the end of the program, and return its exit code; TimeoutExpired after these seconds."""
        return self._process.wait(seconds)


def torchrun(hosts: Hosts, number: int, store: int, nodes: str, name: str, read_timeout: int = 10) -> list[str]:
    """Return the words that start torchrun on a host, to be followed by the program that it is to start.

    store: the host that holds the store. nodes: as after --nnodes. name: of the job. read_timeout: seconds in which a
    host gives up that cannot reach the store. A host that says nothing is missed after 6 s. torchrun's own times are
    60 and 15 s.
    """
    times = {
        "is_host": int(number == store),
        "last_call_timeout": 2,
        "keep_alive_interval": 2,
        "keep_alive_max_attempt": 3,
        "read_timeout": read_timeout,
    }
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--nnodes", nodes, "--rdzv-backend", "paa"),
        *("--rdzv-endpoint", f"{hosts.address(store)}:{PORT}", "--rdzv-id", name),
        *("--rdzv-conf", ",".join(f"{key}={value}" for key, value in times.items())),
        *("--local-addr", hosts.address(number)),
    ]


def torchrun_environment(folder: Path) -> dict[str, str]:
    """Return the environment in which torchrun finds paa's rendezvous, also where paa was installed without it.

    folder: for the entry point, where it is missing.
    """
    if any(found.name == "paa" for found in entry_points(group="torchrun.handlers")):
        return {}
    about = folder / "paa_rendezvous-0.dist-info"
    about.mkdir(parents=True, exist_ok=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: paa-rendezvous\nVersion: 0\n")
    (about / "entry_points.txt").write_text(f"[torchrun.handlers]\n{ENTRY_POINT}\n")
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))}


def wait_for(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until a function returns something true; TimeoutError, which says what was awaited, if it never does."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.05)
