"""A run of two hosts of which one is killed, one joins, and one loses its network: it ends as if nothing had been."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from paa.commands.main import main
from tests.training.runs import load, timeless

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))  # as for a script in that folder

import two_hosts

STEPS, VAL_INTERVAL = 16, 8
PATIENCE = 600  # seconds; far more than needed, for machines that do other things too

GATED = """
import sys, time
from pathlib import Path
from paa.commands.main import main
from paa.report import progress
from paa.runtime.stop_signals import StopSignals

gate, take, signals = Path(sys.argv.pop(1)), StopSignals._take, []
StopSignals._take = lambda self, number, frame: signals.append(number) or take(self, number, frame)

def wait_at_gate(record):
    while record["step"] >= int(gate.read_text()) and not signals:
        time.sleep(0.02)

progress.TrainingProgress = lambda console: wait_at_gate
main(sys.argv[1:])
"""
"""paa, for which a run waits after the step that a file names."""


def read_log(run: Path) -> list[dict[str, Any]]:
    """Return the records of a log that may be being written."""
    lines = (run / "log.jsonl").read_text().split("\n")[:-1] if (run / "log.jsonl").exists() else []
    return [json.loads(line) for line in lines]


@pytest.mark.slow
def test_two_hosts(tmp_path: Path, shapes: Path, options: list[str]) -> None:
    """The batch, of 3 images, and the validation set, of 3, do not divide by two processes.

    Nothing uses up a restart of torchrun: it has none, --max-restarts being 0. The host that is cut off lives on for a
    while, and nobody writes to the run's folder beside it.
    """
    if reason := two_hosts.why_not():
        pytest.skip(reason)
    program, gate, run = tmp_path / "gated.py", tmp_path / "gate", tmp_path / "run"
    program.write_text(GATED)
    more = ["--batch-size", "3", "--schedule.reference-batch", "3", "--schedule.steps", str(STEPS)]
    more += ["--schedule.frozen-stages", "2", "--schedule.ema", "0.2", "--checkpoint-interval", "3"]
    more += ["--val-split", "train", "--val-num", "3", "--val-batch-size", "1"]
    more += ["--val-interval", str(VAL_INTERVAL), "--resume", "--output"]
    command = ["train", "--data", str(shapes), *options, *more]
    environment = two_hosts.torchrun_environment(tmp_path / "entry_point")

    def open_gate(step: int) -> None:
        gate.with_suffix(".new").write_text(str(step))
        gate.with_suffix(".new").replace(gate)

    def until_step(step: int, processes: int) -> None:
        def reached() -> bool:
            return read_log(run)[-1:] != [] and read_log(run)[-1]["step"] >= step and said()["processes"] == processes

        def said() -> Any:
            return json.loads((run / "config.json").read_text())

        two_hosts.wait_for(reached, PATIENCE, f"step {step} of {processes} processes; see {tmp_path}")

    with two_hosts.Hosts(3) as hosts:
        hosts.start(3, [sys.executable, "-c", two_hosts.STORE], tmp_path / "3.log")

        def start(number: int) -> two_hosts.Program:
            words = two_hosts.torchrun(hosts, number, 3, "1:2", "job", read_timeout=PATIENCE)
            words += [str(program), str(gate), *command, str(run)]
            return hosts.start(number, words, tmp_path / f"{number}.log", environment)

        open_gate(4)
        one, two = start(1), start(2)
        until_step(4, 2)
        two.kill()
        open_gate(6)
        until_step(6, 1)
        two = start(2)
        open_gate(10)
        until_step(10, 2)
        hosts.cut(1)  # of the process that writes the run's folder, and holds its lock as long as it lives
        open_gate(STEPS + 1)
        refused = re.compile(rf"{run}: process \d+ on host1 .* is writing this run")
        two_hosts.wait_for(lambda: refused.search((tmp_path / "2.log").read_text()), PATIENCE, "the wait for the lock")
        assert read_log(run)[-1]["step"] == 10
        one.kill()
        assert two.wait(PATIENCE) == 0, (tmp_path / "2.log").read_text()

    main([*command, str(tmp_path / "whole")])
    whole = read_log(tmp_path / "whole")
    assert [record["step"] for record in whole if "AP" in record] == [VAL_INTERVAL, STEPS]
    for mine, theirs in zip(timeless(read_log(run)), timeless(whole), strict=True):
        assert mine.keys() == theirs.keys()
        for name, value in theirs.items():
            if name != "positives":  # a mean over the processes
                assert mine[name] == (None if value is None else pytest.approx(value, rel=1e-5)), theirs["step"]
    state, expected = (load(folder / "last.pt")["training"] for folder in (run, tmp_path / "whole"))
    assert {name: state[name] for name in ("step", "schedule", "run_config")} == {
        name: expected[name] for name in ("step", "schedule", "run_config")
    }
    assert not (run / "lock").exists()


def test_why_it_may_be_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "PATH", "")
    assert two_hosts.why_not.__wrapped__() == "the command ip is not installed"
