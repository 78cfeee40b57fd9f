"""The modes of soak.py in which hosts come and go: a run on two of them ends as one to which nothing happened.

The hosts are those of two_hosts.py, and a third one has torchrun's store. Torchrun has no restarts (--max-restarts 0).
"""

from __future__ import annotations

import math
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import two_hosts

MODES = ("node-killed", "node-joins", "link-cut")
PATIENCE = 600  # seconds after which a run is taken to hang
TOLERANCE = 1e-5
"""Relative: one process adds up in another order than two."""

ReadLog = Callable[[Path], list[dict[str, Any]]]


class Trial:
    """One run, whose hosts change once."""

    def __init__(self, hosts: two_hosts.Hosts, run: Path, command: Sequence[str], environment: dict[str, str]) -> None:
        self.run, self._hosts, self._command, self._environment = run, hosts, [*command, str(run)], environment
        self.programs: dict[int, two_hosts.Program] = {}

    def output(self, number: int) -> Path:
        """Return the file with what the processes of a host print."""
        return self.run.with_name(f"{self.run.name}-{number}.txt")

    def start(self, number: int) -> None:
        """Start torchrun on a host."""
        words = [*two_hosts.torchrun(self._hosts, number, 3, "1:2", self.run.name), "-m", "paa", *self._command]
        self.programs[number] = self._hosts.start(number, words, self.output(number), self._environment)

    @property
    def running(self) -> bool:
        return any(program.running for program in self.programs.values())

    @property
    def started(self) -> float:
        """The time at which the run was started last, which writes its configuration."""
        config = self.run / "config.json"
        return config.stat().st_mtime if config.exists() else 0.0

    def change(self, mode: str, first: int, second: int) -> float | None:
        """Change the hosts, and return the seconds until the run was started again; None if it ended before."""
        before, now = self.started, time.monotonic()
        if mode == "node-killed":
            self.programs.pop(first).kill()
        elif mode == "link-cut":
            self._hosts.cut(first)
        else:
            self.start(second)
        while self.started == before and self.running:
            time.sleep(0.05)
        return time.monotonic() - now if self.started != before else None


def soak_hosts(
    mode: str, changes: int, folder: Path, rng: random.Random, command: Sequence[str], read_log: ReadLog, steps: int
) -> dict[str, Any]:
    """Change the hosts of runs this many times, once in each; return the figures.

    command: of paa, without the run's folder. read_log: returns the records of a log, without an unfinished line. In
    the figures, `changes` counts the runs that were started again after a change, and `late` those that ended before.
    """
    if reason := two_hosts.why_not():
        raise SystemExit(f"{mode}: {reason}")
    started = time.monotonic()
    whole = folder / f"{mode}-whole"
    subprocess.run([sys.executable, "-m", "paa", *command, str(whole)], check=True, capture_output=True)
    expected = read_log(whole / "log.jsonl")
    environment = two_hosts.torchrun_environment(folder / "entry_point")
    figures: dict[str, Any] = {"mode": mode, "changes": 0, "late": 0, "runs": 0, "equal": 0, "failed": 0}
    waits, differences = [], []
    with two_hosts.Hosts(3) as hosts:
        hosts.start(3, [sys.executable, "-c", two_hosts.STORE], folder / "store.txt")
        while figures["changes"] < changes:
            trial = Trial(hosts, folder / f"{mode}-{figures['runs']}", command, environment)
            first, second = rng.sample([1, 2], 2)
            trial.start(first)
            if mode != "node-joins":
                trial.start(second)
            at, log = rng.randrange(1, steps), trial.run / "log.jsonl"
            while trial.running and not any(record["step"] >= at for record in read_log(log)):
                time.sleep(0.02)
            time.sleep(rng.uniform(0, 0.2))
            wait = trial.change(mode, first, second)
            codes = {number: program.wait(PATIENCE) for number, program in trial.programs.items()}
            failed = False
            if mode == "link-cut":
                hosts.mend(first)
                failed = codes.pop(first) == 0 and wait is not None
            failed |= any(codes.values())
            difference = largest_difference(read_log(log), expected)
            figures["runs"] += 1
            figures["failed"] += failed
            figures["equal"] += difference <= TOLERANCE
            figures["changes" if wait is not None else "late"] += 1
            differences.append(difference)
            waits += [] if wait is None else [wait]
            if failed or difference > TOLERANCE:
                print(f"{trial.run.name}: {first} at step {at}, {codes}, {difference}", file=sys.stderr)
                for number in trial.programs:
                    print(trial.output(number).read_text()[-5000:], file=sys.stderr)
            shutil.rmtree(trial.run)
    return {
        **figures,
        "median_wait_s": round(statistics.median(waits), 1),
        "longest_wait_s": round(max(waits), 1),
        "largest_difference": max(differences),
        "seconds": round(time.monotonic() - started),
    }


def largest_difference(log: list[dict[str, Any]], expected: list[dict[str, Any]]) -> float:
    """Return the largest relative difference between the losses and learning rates of two logs.

    Infinite where the logs do not have the same steps in the same order.
    """
    if [(record["step"], "AP" in record) for record in log] != [(r["step"], "AP" in r) for r in expected]:
        return math.inf
    pairs = [
        (mine[name], value)
        for mine, record in zip(log, expected)
        for name, value in record.items()
        if name.startswith("loss") or name == "lr"
    ]
    return max(abs(a - b) / max(abs(b), 1e-12) for a, b in pairs)
