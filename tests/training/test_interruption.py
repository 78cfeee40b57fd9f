"""A run that a signal or the end of its time interrupts saves what it did, and resumed ends as one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paa.commands import train as train_command
from paa.commands.main import main
from paa.data import datasets
from paa.data.images import read as reading
from paa.inference import dataset
from paa.runtime.stop_signals import StoppedError, StopSignals
from paa.training import train as engine
from paa.training.records import Listener, Record, TrainResult
from paa.training.run import Run
from paa.training.time_limit import TimeLimit
from paa.training.train import train
from tests.processes import in_two_processes
from tests.training.runs import CPU, Micro, differences, load, read_log, timeless

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1]
VALIDATED: dict[str, Any] = {"validation": {"batch_size": 2, "interval": 2}}


@pytest.fixture
def signals() -> Iterator[StopSignals]:
    """Yield signals that are handled, as `paa train` has them."""
    with StopSignals().handled() as handled:
        yield handled


@pytest.fixture(scope="module")
def validated(tmp_path_factory: pytest.TempPathFactory, micro: Micro) -> TrainResult:
    """Return a run with validations that was never interrupted."""
    return train(micro(tmp_path_factory.mktemp("runs") / "validated", **VALIDATED), CPU)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def send_at(step: int, number: int = signal.SIGTERM) -> Listener:
    """Return a listener to which a signal comes at the training record of a step."""
    return lambda record: send(number) if record["step"] == step and "loss" in record else None


def assert_same(run: TrainResult, whole: TrainResult) -> None:
    assert differences(load(whole.last), load(run.last)) == []
    assert timeless(read_log(run.log)) == timeless(read_log(whole.log))


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_run_after_its_step(
    tmp_path: Path, micro: Micro, whole: TrainResult, signals: StopSignals, number: signal.Signals
) -> None:
    """The run would have saved its first checkpoint after its last step."""
    stopped = train(micro(tmp_path / "run"), CPU, send_at(2, number), signals)
    assert (stopped.step, stopped.stopped, stopped.interrupted) == (2, True, True)
    assert load(stopped.last)["training"]["step"] == 2
    assert not (stopped.folder / "lock").exists()
    resumed = train(micro(tmp_path / "run", resume="last"), CPU)
    assert (resumed.stopped, resumed.interrupted) == (False, False)
    assert_same(resumed, whole)


def test_a_signal_in_the_last_step_interrupts_nothing(
    tmp_path: Path, micro: Micro, whole: TrainResult, signals: StopSignals
) -> None:
    run = train(micro(tmp_path / "run"), CPU, send_at(4), signals)
    assert (run.step, run.stopped, run.interrupted) == (4, False, False)
    assert_same(run, whole)


def test_a_signal_ends_a_validation(
    tmp_path: Path, micro: Micro, validated: TrainResult, signals: StopSignals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its step is saved already, and the resumed run begins with the validation."""

    def evaluate(run: Run) -> Record:
        send(signal.SIGTERM)
        raise AssertionError("the validation went on")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "evaluate_weights", evaluate)
        stopped = train(micro(tmp_path / "run", **VALIDATED), CPU, signals=signals)
    assert (stopped.step, stopped.interrupted) == (2, True)
    assert load(stopped.last)["training"]["validation_due"]
    assert_same(train(micro(tmp_path / "run", resume="last", **VALIDATED), CPU), validated)


def test_a_signal_ends_the_wait_for_data(
    tmp_path: Path, micro: Micro, whole: TrainResult, signals: StopSignals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image's disk may hang for ever; the steps before are saved."""
    read, calls = datasets.read_image, []

    def hang(*given: Any) -> Any:
        calls.append(given)
        if len(calls) > 4:
            send(signal.SIGTERM)
            raise AssertionError("the image was read")
        return read(*given)

    with monkeypatch.context() as patch:
        patch.setattr(datasets, "read_image", hang)
        stopped = train(micro(tmp_path / "run"), CPU, signals=signals)
    assert (stopped.step, stopped.interrupted) == (2, True)
    assert load(stopped.last)["training"]["step"] == 2
    assert_same(train(micro(tmp_path / "run", resume="last"), CPU), whole)


def test_a_signal_while_an_image_is_decoded(
    tmp_path: Path, micro: Micro, whole: TrainResult, signals: StopSignals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoders raise errors of any kind for a damaged image, but this is none."""
    decode, calls = reading.pil_to_rgb, []

    def interrupted(image: Any) -> Any:
        calls.append(image)
        if len(calls) == 5:
            send(signal.SIGTERM)
        return decode(image)

    with monkeypatch.context() as patch:
        patch.setattr(reading, "pil_to_rgb", interrupted)
        stopped = train(micro(tmp_path / "run", data={"skip_bad": True}), CPU, signals=signals)
    assert len(calls) == 5
    assert (stopped.step, stopped.interrupted) == (2, True)
    assert not (stopped.folder / "left_out.txt").exists()
    assert_same(train(micro(tmp_path / "run", resume="last", data={"skip_bad": True}), CPU), whole)


def test_a_signal_before_the_first_step(tmp_path: Path, micro: Micro, whole: TrainResult, signals: StopSignals) -> None:
    send(signal.SIGTERM)
    with pytest.raises(StoppedError):
        train(micro(tmp_path / "run"), CPU, signals=signals)
    assert_same(train(micro(tmp_path / "run", resume="last"), CPU), whole)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)])
def test_exit_codes_of_the_command(
    tmp_path: Path,
    shapes: Path,
    options: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
    code: int,
) -> None:
    monkeypatch.setattr("paa.report.progress.TrainingProgress", lambda console: send_at(2, number))
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended:
        main(["train", "--data", str(shapes), *options, "--val-batch-size", "0", "--output", str(tmp_path / "run")])
    assert ended.value.code == code
    assert f"paa: interrupted by {number.name} after step 2 of 4; --resume goes on" in capsys.readouterr().err
    assert signal.getsignal(number) is before


def test_the_command_before_its_first_step(
    tmp_path: Path, shapes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def build(self: train_command.Train) -> Any:
        send(signal.SIGTERM)
        return config(self)

    config = train_command.Train._config
    monkeypatch.setattr(train_command.Train, "_config", build)
    with pytest.raises(SystemExit) as ended:
        main(["train", "--data", str(shapes), "--device", "cpu", "--output", str(tmp_path / "run")])
    assert ended.value.code == 75
    assert capsys.readouterr().err.splitlines()[-1] == "paa: interrupted by SIGTERM before the first step"
    assert not (tmp_path / "run").exists()


def interrupt_one_of_two(arguments: list[str]) -> None:
    """Train, and send a signal to the second process alone at the end of step 2."""
    if os.environ["RANK"] == "1":
        update = engine.set_lr
        calls: list[float] = []

        def set_lr(optimizer: Any, lr: float) -> None:
            calls.append(lr)
            if len(calls) == 2:
                send(signal.SIGTERM)
            update(optimizer, lr)

        engine.set_lr = set_lr
    main(arguments)


def test_two_processes_end_at_the_same_step(tmp_path: Path, shapes: Path, options: list[str]) -> None:
    arguments = ["train", "--data", str(shapes), *options, "--val-batch-size", "0", "--schedule.frozen-stages", "2"]
    for done in in_two_processes(tmp_path, interrupt_one_of_two, [*arguments, "--output", str(tmp_path / "run")]):
        assert done.code == 75, done.stderr
    assert load(tmp_path / "run" / "last.pt")["training"]["step"] == 2
    for done in in_two_processes(tmp_path, main, [*arguments, "--output", str(tmp_path / "run"), "--resume"]):
        assert done.code == 0, done.stderr
    for done in in_two_processes(tmp_path, main, [*arguments, "--output", str(tmp_path / "whole")]):
        assert done.code == 0, done.stderr
    run, whole = tmp_path / "run", tmp_path / "whole"
    assert differences(load(run / "last.pt"), load(whole / "last.pt")) == []
    assert timeless(read_log(run / "log.jsonl")) == timeless(read_log(whole / "log.jsonl"))


def interrupt_a_validation_of_one(arguments: list[str]) -> None:
    """Train, and send a signal to the first process alone while it evaluates; the second waits for its share."""
    if os.environ["RANK"] == "0":
        detect = dataset.detect_batch

        def detect_batch(*given: Any) -> Any:
            send(signal.SIGTERM)
            return detect(*given)

        dataset.detect_batch = detect_batch
    main(arguments)


def test_one_of_two_processes_is_interrupted_in_a_validation(tmp_path: Path, shapes: Path, options: list[str]) -> None:
    """It ends; the other does not wait for it, and the resumed run begins with that validation."""
    more = ["--val-batch-size", "1", "--val-interval", "2", "--schedule.frozen-stages", "2", "--output"]
    arguments = ["train", "--data", str(shapes), *options, *more]
    first, second = in_two_processes(tmp_path, interrupt_a_validation_of_one, [*arguments, str(tmp_path / "run")])
    assert first.code == 75
    assert "paa: interrupted by SIGTERM while step 2 was validated; --resume goes on" in first.stderr
    assert second.code != 0
    run, whole = tmp_path / "run", tmp_path / "whole"
    assert load(run / "last.pt")["training"]["validation_due"]
    for done in in_two_processes(tmp_path, main, [*arguments, str(run), "--resume"]):
        assert done.code == 0, done.stderr
    for done in in_two_processes(tmp_path, main, [*arguments, str(whole)]):
        assert done.code == 0, done.stderr
    assert differences(load(run / "last.pt"), load(whole / "last.pt")) == []
    assert timeless(read_log(run / "log.jsonl")) == timeless(read_log(whole / "log.jsonl"))


SLOW = """
import sys, time
from paa.commands.main import main
from paa.report import progress

def slow(record):
    print(record["step"], flush=True)
    time.sleep(0.5)

progress.TrainingProgress = lambda console: slow
main(sys.argv[1:])
"""


def test_a_signal_to_a_process_and_its_workers(tmp_path: Path, shapes: Path, options: list[str]) -> None:
    """As a scheduler sends it that knows of every process of a job."""
    arguments = ["train", "--data", str(shapes), *options, "--val-batch-size", "0", "--workers", "2"]
    command = [sys.executable, "-c", SLOW, *arguments, "--output", str(tmp_path / "run")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        os.killpg(process.pid, signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert "interrupted by SIGTERM after step 1 of 4" in said
    main([*arguments, "--output", str(tmp_path / "run"), "--resume"])
    main([*arguments, "--output", str(tmp_path / "whole")])
    assert differences(load(tmp_path / "run" / "last.pt"), load(tmp_path / "whole" / "last.pt")) == []


def test_a_run_ends_in_time(tmp_path: Path, micro: Micro, whole: TrainResult, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that moves by ten seconds in each step: 29 seconds are enough for two steps and the reserve."""
    now = [0.0]
    monkeypatch.setattr(engine, "TimeLimit", lambda hours: TimeLimit(hours, lambda: now[0]))
    step = engine.train_step

    def ten_seconds(*given: Any) -> Any:
        now[0] += 10
        return step(*given)

    monkeypatch.setattr(engine, "train_step", ten_seconds)
    stopped = train(micro(tmp_path / "run", runtime={"max_hours": 29 / 3600}), CPU)
    assert (stopped.step, stopped.interrupted) == (2, True)
    resumed = train(micro(tmp_path / "run", resume="last", runtime={"max_hours": 1}), CPU)
    assert not resumed.interrupted
    assert_same(resumed, whole)
