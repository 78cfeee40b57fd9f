"""`paa serve` as a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Served(subprocess.Popen[str]):
    """The process. address: where it listens. said: what it printed so far, of both streams."""

    address: str
    said: list[str]

    def end(self, signal: int) -> str:
        """Send a signal, wait for the end, and return all that was printed."""
        self.send_signal(signal)
        self.wait(60)
        self.reader.join(20)
        return "".join(self.said)

    reader: threading.Thread


@contextmanager
def served(checkpoint: Path, *options: str) -> Iterator[Served]:
    """Yield the process, on a free port of loopback, once it answers."""
    command = [sys.executable, "-m", "paa", "serve", str(checkpoint), "--port", "0", "--device", "cpu", *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    process = Served(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    process.said = []
    started = threading.Event()

    def read() -> None:
        for line in process.stdout or ():
            process.said.append(line)
            if found := re.match(r"serving .* at (http://\S+) \(Ctrl\+C ends\)", line):
                process.address = found[1]
                started.set()
        started.set()

    process.reader = threading.Thread(target=read)
    process.reader.start()
    try:
        assert started.wait(120)
        assert process.poll() is None, "".join(process.said)
        yield process
    finally:
        process.terminate()  # so that it removes its temporary folder
        try:
            process.wait(60)
        finally:
            process.kill()
            process.wait(20)
        process.reader.join(20)
