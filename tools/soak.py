"""Kill training runs at random moments, start them again by the same command, and compare what they end with.

    python tools/soak.py [--kills 100] [--modes one two checkpoint validation signals workers] [--seed 0]
        [--output FILE]
    python tools/soak.py [--kills 100] --modes node-killed node-joins link-cut

A run of 40 steps on drawn shapes, with validations, averaged weights and images that are changed at random, is started
again and again, until it ends. Then its checkpoints and its log are compared, to the bit, with those of a run that was
never killed. Modes:

- one: SIGKILL to the one process, at a moment drawn evenly from the time that a run takes;
- two: two processes, of which one or both are killed;
- checkpoint: killed while the file of a checkpoint is half written;
- validation: killed while a validation is under way;
- signals: SIGTERM, SIGINT, SIGHUP or SIGUSR1 in place of SIGKILL; also, no process may take longer than 10 s to end;
- workers: SIGKILL to one of two loader workers, again and again, in training and validation: the run itself goes on.
- node-killed, node-joins, link-cut: not part of a soak unless named; hosts come and go, see soak_hosts.py.

Each mode prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch.distributed import TCPStore

from paa.commands.main import main as paa
from paa.data.shapes import make_shapes
from soak_hosts import MODES as HOST_MODES
from soak_hosts import soak_hosts

STEPS = 40
OPTIONS = [
    *("--recipe", "r18_nano", "--model.channels", "16", "--model.tower-depth", "1", "--model.norm", "frozen"),
    *("--model.min-size", "64", "--model.max-size", "96", "--augment.min-sizes", "64", "--augment.max-size", "96"),
    *("--augment.mosaic", "0.3", "--schedule.steps", str(STEPS), "--schedule.reference-batch", "4"),
    *("--schedule.warmup-steps", "5", "--schedule.frozen-stages", "2", "--schedule.ema", "0.5"),
    *("--batch-size", "4", "--device", "cpu", "--log-interval", "1", "--checkpoint-interval", "3"),
    *("--assignment-interval", "4"),
    *("--val-batch-size", "2", "--val-interval", "10"),
]
SMOOTH = ["--schedule.optimizer", "sgd", "--schedule.lr", "0.002"]
"""For runs whose number of processes changes: AdamW's steps are as large for gradients that are rounding errors."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
TIMES = ("images_per_second", "seconds_left", "evaluation_seconds")
PATIENCE = 120  # seconds after which a process is taken to hang

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["paa.commands.main", "paa.training.train", "paa.report.evaluation"])


def work(arguments: list[str], environment: dict[str, str]) -> None:
    """Run a command of paa in this new process, and say nothing."""
    os.environ.update(environment)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # of loader workers, as in a process of a command line
    paa(arguments)


class Job:
    """The processes of a run, which see each other."""

    def __init__(self, arguments: list[str], world: int) -> None:
        environments: list[dict[str, str]] = [{}]
        if world > 1:
            self._store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
            shared = {
                "WORLD_SIZE": str(world),
                "LOCAL_WORLD_SIZE": str(world),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(self._store.port),
                "TORCHELASTIC_USE_AGENT_STORE": "True",
                "TORCHELASTIC_RESTART_COUNT": "0",
            }
            environments = [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(world)]
        self.processes = [_context.Process(target=work, args=(arguments, each)) for each in environments]
        for process in self.processes:
            process.start()

    @property
    def running(self) -> bool:
        return any(process.is_alive() for process in self.processes)

    def send(self, number: int, process: int) -> None:
        pid = self.processes[process].pid
        assert pid is not None
        if self.processes[process].is_alive():
            os.kill(pid, number)

    def end(self) -> list[int | None]:
        """Wait for the end of all processes, and return their exit codes; where one failed, the others are killed."""
        until = time.monotonic() + PATIENCE
        while self.running and time.monotonic() < until:
            if any(process.exitcode for process in self.processes):
                time.sleep(0.2)  # the others may be about to end by themselves
                break
            time.sleep(0.005)
        hung = self.running and time.monotonic() >= until
        for process in self.processes:
            process.kill()
            process.join()
        if hung:
            raise SystemExit(f"a run did not end in {PATIENCE} s")
        return [process.exitcode for process in self.processes]


def moment(mode: str, folder: Path, job: Job, rng: random.Random, whole_seconds: float) -> bool:
    """Wait for the moment at which a run is killed; False if it ended before."""
    until = time.monotonic() + rng.uniform(0, whole_seconds)
    while job.running:
        if time.monotonic() >= until and (
            mode not in ("checkpoint", "validation")
            or (mode == "checkpoint" and any(folder.glob("last.pt.*.tmp")))
            or (mode == "validation" and in_validation(folder))
        ):
            return True
        time.sleep(0.0005 if mode == "checkpoint" else 0.002)
    return False


def kill_workers(job: Job, rng: random.Random, whole_seconds: float) -> int:
    """Kill loader workers of a run, one at a time, until the run ends; return how many were killed."""
    (process,) = job.processes
    children, kills = Path(f"/proc/{process.pid}/task/{process.pid}/children"), 0
    while job.running:
        until = time.monotonic() + rng.uniform(0, whole_seconds / 2)
        while job.running and time.monotonic() < until:
            time.sleep(0.01)
        with suppress(OSError):  # the run, or the worker, has just ended
            if workers := children.read_text().split():
                os.kill(int(rng.choice(workers)), signal.SIGKILL)
                kills += 1
    return kills


def in_validation(folder: Path) -> bool:
    """Return whether the log's last record is of a step whose validation is due, and not there yet."""
    records = read_log(folder / "log.jsonl")
    return bool(records) and "AP" not in records[-1] and records[-1]["step"] % 10 == 0


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the records of a log; a line that is being written is left out."""
    records = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records


def same(a: Any, b: Any) -> bool:
    """Return whether two checkpoints are equal to the bit."""
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same(*pair) for pair in zip(a, b))
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    return type(a) is type(b) and bool(a == b)


def result(folder: Path) -> tuple[Any, Any, list[dict[str, Any]]]:
    """Return what a run ended with: last.pt, best.pt, and the log without times."""
    last, best = (torch.load(folder / name, weights_only=True) for name in ("last.pt", "best.pt"))
    log = [{k: v for k, v in record.items() if k not in TIMES} for record in read_log(folder / "log.jsonl")]
    return last, best, log


def soak(mode: str, kills: int, folder: Path, rng: random.Random) -> dict[str, Any]:
    """Kill runs of one mode this many times; return the figures."""
    world = 2 if mode == "two" else 1
    workers = "2" if mode == "workers" else "0"
    command = ["train", "--data", str(folder / "shapes"), *OPTIONS, "--workers", workers, "--resume", "--output"]
    whole = folder / f"{mode}-whole"
    assert Job(["--version"], 1).end() == [0]  # from here on, a new process has torch at once
    started = time.monotonic()
    assert Job([*command, str(whole)], world).end() == [0] * world, "the run that is not killed failed"
    seconds = time.monotonic() - started
    expected = result(whole)
    figures: dict[str, Any] = {"mode": mode, "kills": 0, "runs": 0, "equal": 0, "failed": 0, "slowest_end_s": 0.0}
    while figures["kills"] < kills:
        run = folder / f"{mode}-{figures['runs']}"
        while True:
            job = Job([*command, str(run)], world)
            if mode == "workers":
                figures["kills"] += kill_workers(job, rng, seconds)
                figures["failed"] += any(job.end())
                break
            if not moment(mode, run, job, rng, seconds):
                codes = job.end()
                if any(codes):
                    figures["failed"] += 1
                break
            sent = rng.choice(SIGNALS) if mode == "signals" else signal.SIGKILL
            victims = rng.choice(([0], [1], [0, 1])) if world > 1 else [0]
            for victim in victims:
                job.send(sent, victim)
            at = time.monotonic()
            codes = job.end()
            figures["slowest_end_s"] = max(figures["slowest_end_s"], round(time.monotonic() - at, 2))
            if mode != "checkpoint" or any(run.glob("last.pt.*.tmp")):
                figures["kills"] += 1
            if mode == "signals" and codes[0] not in (0, 75, 130, -sent):
                figures["failed"] += 1
        figures["runs"] += 1
        figures["equal"] += all(same(a, b) for a, b in zip(result(run), expected))
        shutil.rmtree(run)
    return {**figures, "seconds_of_a_run": round(seconds, 1), "seconds": round(time.monotonic() - started)}


def main() -> None:
    """Run the modes that were asked for, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = ["one", "two", "checkpoint", "validation", "signals", "workers"]
    parser.add_argument("--kills", type=int, default=100, help="kills in each mode, at least")
    parser.add_argument("--modes", nargs="+", default=modes, choices=[*modes, *HOST_MODES])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="a file to add the lines to")
    arguments = parser.parse_args()
    bad = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_shapes(folder / "shapes", 24, size=(64, 96))
        for mode in arguments.modes:
            rng = random.Random(f"{mode} {arguments.seed}")
            if mode in HOST_MODES:
                command = ["train", "--data", str(folder / "shapes"), *OPTIONS, *SMOOTH]
                command += ["--workers", "0", "--resume", "--output"]
                line = soak_hosts(mode, arguments.kills, folder, rng, command, read_log, STEPS)
            else:
                line = soak(mode, arguments.kills, folder, rng)
            bad |= line["equal"] < line["runs"] or line["failed"] > 0
            print(json.dumps(line), flush=True)
            if arguments.output is not None:
                with arguments.output.open("a") as file:
                    file.write(json.dumps(line) + "\n")
    raise SystemExit(int(bad))


if __name__ == "__main__":
    main()
