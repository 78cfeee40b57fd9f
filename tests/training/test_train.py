from __future__ import annotations

import json
import logging
import math
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

import paa
from paa.commands.main import main
from paa.data import loader as loading
from paa.data.batch import Batch
from paa.errors import CheckpointError, ConfigError, DataError, ImageError, RunError
from paa.runtime.distributed import Process
from paa.training import datasets, setup
from paa.training import run as running
from paa.training import train as engine
from paa.training.records import TrainResult
from paa.training.run import Run
from paa.training.run_folder import RunFolder
from paa.training.settings import TrainConfig, check_settings
from paa.training.train import train

CPU = Process(torch.device("cpu"))
Micro = Callable[..., TrainConfig]
Record = dict[str, Any]

_TIMES = {"images_per_second", "seconds_left", "evaluation_seconds"}


class KilledError(Exception):
    pass


def kill_at(step: int) -> Callable[[Record], None]:
    def listen(record: Record) -> None:
        if record["step"] == step:
            raise KilledError

    return listen


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Where two checkpoints differ, to the bit."""
    if isinstance(a, dict) and isinstance(b, dict) and list(a) == list(b):
        return [name for key in a for name in differences(a[key], b[key], f"{where}/{key}")]
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        return [name for i, pair in enumerate(zip(a, b)) for name in differences(*pair, f"{where}/{i}")]
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return [] if a.dtype == b.dtype and torch.equal(a, b) else [where]
    return [] if type(a) is type(b) and a == b else [where]


def read_log(run: TrainResult | RunFolder) -> list[Record]:
    return [json.loads(line) for line in run.log.read_text().splitlines()]


def timeless(records: list[Record]) -> list[Record]:
    return [{k: v for k, v in record.items() if k not in _TIMES} for record in records]


def test_differences_are_seen() -> None:
    one = {"a": [torch.zeros(2), 1.0], "b": {"c": torch.ones(2)}}
    assert differences(one, {"a": [torch.zeros(2), 1.0], "b": {"c": torch.ones(2)}}) == []
    assert differences(one, {"a": [torch.tensor([0, 1e-45]), 1.0], "b": {"c": torch.ones(2)}}) == ["/a/0"]
    assert differences(one, {"a": [torch.zeros(2), 1.5], "b": {}}) == ["/a/1", "/b"]


@pytest.mark.parametrize(
    ("model", "schedule"),
    [
        ({}, {"frozen_stages": 2}),
        (
            {"norm": "batch"},
            {"frozen_stages": 0, "optimizer": "adamw", "lr": 1e-3, "shape": "cosine", "clip_norm": 1.0, "ema": 0.3},
        ),
    ],
    ids=["sgd", "adamw, trained batch norm, averaged"],
)
def test_a_run_stopped_and_resumed_is_one_never_stopped(
    tmp_path: Path, micro: Micro, model: dict[str, Any], schedule: dict[str, Any]
) -> None:
    shared: dict[str, Any] = {
        "model": model,
        "augment": {"scale_jitter": (0.7, 1.4), "color_jitter": 0.2},
        "schedule": {"steps": 7, **schedule},
        "validation": {"batch_size": 2, "interval": 3},
        "runtime": {"checkpoint_interval": 2},
    }
    whole = train(micro(tmp_path / "whole", **shared), CPU)
    for stop, resume, saved in ((4, None, 3), (6, "last", 4)):
        with pytest.raises(KilledError):
            train(micro(tmp_path / "stopped", resume=resume, **shared), CPU, kill_at(stop))
        assert load(tmp_path / "stopped" / "last.pt")["training"]["step"] == saved
    resumed = train(micro(tmp_path / "stopped", resume="last", **shared), CPU)

    assert load(whole.last)["training"]["step"] == 7
    assert load(whole.last)["training"]["optimizer"]["state"]
    for name in ("last.pt", "best.pt"):
        assert differences(load(whole.folder / name), load(resumed.folder / name)) == []
    assert timeless(read_log(resumed)) == timeless(read_log(whole))
    trained = [record["step"] for record in read_log(resumed) if "loss" in record]
    assert trained == list(range(1, 8))
    assert [record["step"] for record in read_log(resumed) if "AP" in record] == [3, 6, 7]


def test_a_killed_process_resumes(tmp_path: Path, shapes: Path, options: list[str]) -> None:
    def arguments(output: str) -> list[str]:
        more = ["--schedule.steps", "24", "--checkpoint-interval", "3", "--val-batch-size", "0"]
        return ["train", "--data", str(shapes), *options, *more, "--output", str(tmp_path / output)]

    running = subprocess.Popen([sys.executable, "-m", "paa", *arguments("killed")], stdout=subprocess.DEVNULL)
    log, deadline = tmp_path / "killed" / "log.jsonl", time.monotonic() + 300
    while not (log.exists() and log.read_text().count("\n") >= 5) and running.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert 3 <= load(tmp_path / "killed" / "last.pt")["training"]["step"] < 20

    main([*arguments("killed"), "--resume"])
    main(arguments("whole"))
    runs = [RunFolder(tmp_path / name) for name in ("killed", "whole")]
    assert differences(*(load(run.last) for run in runs)) == []
    assert timeless(read_log(runs[0])) == timeless(read_log(runs[1]))


def test_workers_change_nothing(tmp_path: Path, micro: Micro) -> None:
    runs = [train(micro(tmp_path / str(w), runtime={"workers": w, "seed": 3}), CPU) for w in (0, 2)]
    assert differences(*(load(run.last) for run in runs)) == []
    other = train(micro(tmp_path / "seed", runtime={"seed": 4}), CPU)
    assert differences(load(runs[0].last)["model"], load(other.last)["model"])


def test_resumes_from_an_earlier_checkpoint(tmp_path: Path, micro: Micro) -> None:
    whole = train(micro(tmp_path / "whole"), CPU)
    with pytest.raises(KilledError):
        train(micro(tmp_path / "half", runtime={"checkpoint_interval": 2}), CPU, kill_at(3))
    half = tmp_path / "half" / "last.pt"

    elsewhere = train(micro(tmp_path / "elsewhere", resume=half), CPU)
    assert differences(load(elsewhere.last), load(whole.last)) == []
    assert [record["step"] for record in read_log(elsewhere)] == [3, 4]
    assert load(half)["training"]["step"] == 2
    with pytest.raises(RunError, match="exists and is not empty"):
        train(micro(tmp_path / "whole", resume=half), CPU)

    finished = whole.log.read_text()
    train(micro(tmp_path / "whole", resume="last"), CPU, kill_at(0))
    assert whole.log.read_text() == finished


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": {"channels": 24}}, "its run had model.channels 16, not 24; to resume it"),
        ({"model": {"mean": (1.0, 2.0, 3.0)}}, r"mean \[123.675, 116.28, 103.53\], not \[1.0, 2.0, 3.0\]"),
        ({"schedule": {"optimizer": "adamw"}}, "optimizer sgd, not adamw"),
        ({"schedule": {"frozen_stages": 3}}, "frozen_stages 5, not 3"),
        ({"schedule": {"ema": 0.9}}, "schedule.ema None, not 0.9"),
    ],
)
def test_resuming_something_else(tmp_path: Path, micro: Micro, changes: dict[str, Any], says: str) -> None:
    run = train(micro(tmp_path / "run", schedule={"steps": 1}), CPU)
    before = run.last.read_bytes(), run.log.read_text()
    with pytest.raises(ConfigError, match=says):
        train(micro(tmp_path / "run", resume="last", **changes), CPU)
    assert (run.last.read_bytes(), run.log.read_text()) == before


def test_resuming_a_run_that_is_older_than_an_option(tmp_path: Path, micro: Micro) -> None:
    run = train(micro(tmp_path / "run", schedule={"steps": 1}), CPU)
    content = load(run.last)
    for name in ("ema", "backbone_lr_factor"):
        del content["training"]["run_config"]["schedule"][name]
    torch.save(content, tmp_path / "older.pt")
    train(micro(tmp_path / "longer", resume=tmp_path / "older.pt", schedule={"steps": 2}), CPU)
    with pytest.raises(ConfigError, match=r"schedule.backbone_lr_factor 1.0, not 0.1"):
        train(micro(tmp_path / "other", resume=tmp_path / "older.pt", schedule={"backbone_lr_factor": 0.1}), CPU)

    content["training"]["optimizer"]["param_groups"].pop()
    torch.save(content, tmp_path / "older.pt")
    with pytest.raises(CheckpointError, match="another version's optimizer"):
        train(micro(tmp_path / "other", resume=tmp_path / "older.pt"), CPU)


def test_resuming_a_run_that_stopped_before_its_first_checkpoint(tmp_path: Path, micro: Micro) -> None:
    def stop(record: Record) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(micro(tmp_path / "run", schedule={"steps": 2}), CPU, stop)
    assert not (tmp_path / "run" / "last.pt").exists()
    run = train(micro(tmp_path / "run", schedule={"steps": 2}, resume="last"), CPU)
    whole = train(micro(tmp_path / "whole", schedule={"steps": 2}), CPU)
    assert [record["step"] for record in read_log(run)] == [1, 2]
    ours, theirs = load(run.last)["model"], load(whole.last)["model"]
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("there", [None, "empty", "config"])
def test_resuming_a_run_that_does_not_exist_yet_starts_it(tmp_path: Path, micro: Micro, there: str | None) -> None:
    """As a job's script does, which is restarted as it is."""
    whole = train(micro(tmp_path / "whole"), CPU)
    if there is not None:
        (tmp_path / "run").mkdir()
    if there == "config":
        shutil.copy(whole.folder / "config.json", tmp_path / "run")
    run = train(micro(tmp_path / "run", resume="last"), CPU)
    assert differences(load(run.last), load(whole.last)) == []
    assert timeless(read_log(run)) == timeless(read_log(whole))


def test_a_run_whose_last_checkpoint_is_gone_is_not_started_again(tmp_path: Path, micro: Micro) -> None:
    validation = {"batch_size": 2, "interval": 2}
    run = train(micro(tmp_path / "run", validation=validation), CPU)
    run.last.unlink()
    before = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    for name, says in (("best.pt", r"--resume .*run/best\.pt"), ("log.jsonl", r"log\.jsonl goes up to step 4")):
        with pytest.raises(RunError, match=rf"last\.pt: no such file, but .*{says}.*another --output"):
            train(micro(tmp_path / "run", resume="last", validation=validation), CPU)
        assert {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()} == before
        if name == "best.pt":
            before.pop(run.best)
            best = run.best.read_bytes()
            run.best.unlink()
    run.best.write_bytes(best)
    step = load(run.best)["training"]["step"]
    train(micro(tmp_path / "run", resume=run.best, validation=validation), CPU)
    assert load(run.last)["training"]["step"] == 4
    assert [r["step"] for r in read_log(run)] == [1, 2, 2, 3, 4, 4], step


class ValidationKilledError(Exception):
    pass


@pytest.mark.parametrize("killed_in", ["validate", "record", "best", "last"])
@pytest.mark.parametrize("step", [2, 4])
def test_a_run_killed_in_a_validation_ends_as_one_never_stopped(
    tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch, killed_in: str, step: int
) -> None:
    """Before it, before its record is written, before the best is saved, and before it is noted to be over."""
    values = {1: 0.1, 2: 0.5, 3: 0.3, 4: 0.6}
    real_save, real_add = running.save_checkpoint, SummaryWriter.add_scalar
    kill, now = {"at": 0}, {"step": 0}

    def validate(*_: Any) -> Record:
        if killed_in == "validate" and now["step"] == kill["at"]:
            raise ValidationKilledError
        return {"AP": values[now["step"]], "AP50": None}

    def save(path: Path, content: dict[str, Any]) -> None:
        now["step"] = content["training"]["step"]
        finished = not content["training"]["validation_due"]
        if finished and now["step"] == kill["at"] and path.name == f"{killed_in}.pt":
            raise ValidationKilledError
        real_save(path, content)

    def add(board: Any, name: str, value: Any, at: int) -> None:
        if (killed_in, name, at) == ("record", "AP", kill["at"]):
            raise ValidationKilledError
        real_add(board, name, value, at)

    monkeypatch.setattr(engine, "evaluate_weights", validate)
    monkeypatch.setattr(running, "save_checkpoint", save)
    monkeypatch.setattr(SummaryWriter, "add_scalar", add)
    shared: dict[str, Any] = {"validation": {"batch_size": 2, "interval": 1}}
    whole = train(micro(tmp_path / "whole", **shared), CPU)
    kill["at"] = step
    with pytest.raises(ValidationKilledError):
        train(micro(tmp_path / "run", **shared), CPU)
    assert load(tmp_path / "run" / "last.pt")["training"]["step"] == step
    assert load(tmp_path / "run" / "last.pt")["training"]["best"] == (0.1 if step == 2 else 0.5)
    kill["at"], now["step"] = 0, step
    run = train(micro(tmp_path / "run", resume="last", **shared), CPU)
    for name in ("last.pt", "best.pt"):
        assert differences(load(whole.folder / name), load(run.folder / name)) == []
    assert load(run.best)["training"]["best"] == 0.6
    assert timeless(read_log(run)) == timeless(read_log(whole))
    events = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("AP")] == [
        (step, pytest.approx(value)) for step, value in values.items()
    ]
    assert [event.step for event in events.Scalars("loss/box")] == [1, 2, 3, 4]


def test_a_validation_that_fails_loses_nothing(tmp_path: Path, shapes: Path, micro: Micro) -> None:
    data = shutil.copytree(shapes, tmp_path / "data")
    image = data / "images" / json.loads((data / "val.json").read_text())["images"][0]["file_name"]
    content = image.read_bytes()
    shared: dict[str, Any] = {"data": {"path": data}, "validation": {"batch_size": 2, "interval": 2}}

    def damage(record: Record) -> None:
        if record["step"] == 3:
            image.write_bytes(b"no image")

    says = rf"{image.name}: a text, not an image.*validating step 4, which .*run/last\.pt holds\)"
    with pytest.raises(ImageError, match=says) as caught:
        train(micro(tmp_path / "run", **shared), CPU, damage)
    assert "\n" not in str(caught.value)
    assert load(tmp_path / "run" / "last.pt")["training"]["step"] == 4
    assert not (tmp_path / "run" / "lock").exists()
    image.write_bytes(content)
    run = train(micro(tmp_path / "run", resume="last", **shared), CPU)
    whole = train(micro(tmp_path / "whole", **shared), CPU)
    for name in ("last.pt", "best.pt"):
        assert differences(load(whole.folder / name), load(run.folder / name)) == []
    assert timeless(read_log(run)) == timeless(read_log(whole))


def test_a_checkpoint_that_is_older_than_validation_due(tmp_path: Path, micro: Micro) -> None:
    run = train(micro(tmp_path / "run", validation={"batch_size": 2, "interval": 2}), CPU)
    content, before = load(run.last), read_log(run)
    del content["training"]["validation_due"]
    torch.save(content, run.last)
    train(micro(tmp_path / "run", resume="last", validation={"batch_size": 2, "interval": 2}), CPU)
    assert read_log(run) == before


def test_two_runs_in_one_folder(tmp_path: Path, shapes: Path, options: list[str]) -> None:
    """The second is refused while the first runs, and goes on where it is killed, though its workers live on."""
    output = tmp_path / "run"
    more = ["--schedule.steps", "1000000", "--schedule.decays", "--checkpoint-interval", "3", "--val-batch-size", "0"]
    command = [sys.executable, "-m", "paa", "train", "--data", str(shapes), *options, *more, "--output", str(output)]
    first = subprocess.Popen([*command, "--workers", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
        while not (output / "last.pt").exists() and first.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        second = subprocess.run([*command, "--resume"], capture_output=True, text=True, timeout=300, check=False)
        assert (second.returncode, second.stdout) == (2, "")
        says = rf"paa: error: {output}: process {first.pid} on \S+ \(since \S+\) is writing this run; .*\n"
        assert re.fullmatch(says, second.stderr)
        assert first.poll() is None
    finally:
        first.kill()
    first.wait()
    step = load(output / "last.pt")["training"]["step"]
    (output / "last.pt.1-0123abcd.tmp").write_text("half a checkpoint")
    third = subprocess.run(
        [*command, "--resume", "--schedule.steps", str(step + 2)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert third.returncode == 0, third.stderr
    assert f"lock: left by process {first.pid} on " in third.stderr
    assert load(output / "last.pt")["training"]["step"] == step + 2
    assert {path.name for path in output.iterdir()} == {"config.json", "log.jsonl", "tensorboard", "last.pt"}


def test_a_run_that_another_process_made_meanwhile(
    tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While this one, which found nothing to go on with, read the data."""
    whole = train(micro(tmp_path / "whole"), CPU)
    real = setup.read_data

    def read_data(*given: Any) -> Any:
        shutil.copytree(whole.folder, tmp_path / "run")
        return real(*given)

    monkeypatch.setattr(setup, "read_data", read_data)
    with pytest.raises(RunError, match="another process trained this run meanwhile"):
        train(micro(tmp_path / "run", resume="last"), CPU)
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(RunError, match="exists and is not empty"):
        train(micro(tmp_path / "run"), CPU)
    assert (tmp_path / "run" / "last.pt").read_bytes() == whole.last.read_bytes()
    assert not (tmp_path / "run" / "lock").exists()


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_run_opens_is_closed(tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    closed: list[Path] = []
    close = SummaryWriter.close

    def spy(board: Any) -> None:
        closed.append(Path(board.log_dir))
        assert (tmp_path / "run" / "lock").exists()
        close(board)

    monkeypatch.setattr(SummaryWriter, "close", spy)
    if fails:
        with pytest.raises(KilledError):
            train(micro(tmp_path / "run"), CPU, kill_at(2))
    else:
        train(micro(tmp_path / "run"), CPU)
    assert closed == [tmp_path / "run" / "tensorboard"]
    assert not (tmp_path / "run" / "lock").exists()


def test_room_for_the_batches_of_validation_is_checked_at_the_start(
    tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed: list[int] = []
    monkeypatch.setattr(datasets, "check_shared_memory", needed.append)
    shared: dict[str, Any] = {"runtime": {"workers": 1}, "schedule": {"steps": 1}}
    train(micro(tmp_path / "plain", **shared), CPU)
    train(micro(tmp_path / "validated", validation={"batch_size": 2}, **shared), CPU)
    train(micro(tmp_path / "beside", validation={"batch_size": 2}, **shared), replace(CPU, on_host=3))
    plain, validated, beside = needed
    image = 3 * 64 * 96
    assert 2 * image <= plain < plain + 2 * image <= validated
    assert beside == 3 * validated


def test_resuming_what_cannot_be_resumed(tmp_path: Path, micro: Micro, checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.pt: no such file"):
        train(micro(tmp_path / "none", resume=tmp_path / "none" / "gone.pt"), CPU)
    with pytest.raises(CheckpointError, match=r"no training checkpoint of this project.*--init"):
        train(micro(tmp_path / "none", resume=checkpoint), CPU)
    run = train(micro(tmp_path / "run", schedule={"steps": 1}), CPU)
    content = load(run.last)
    torch.save({**content, "names": content["names"][::-1]}, tmp_path / "other.pt")
    with pytest.raises(ConfigError, match="was trained on classes"):
        train(micro(tmp_path / "none", resume=tmp_path / "other.pt"), CPU)
    assert not (tmp_path / "none").exists()


def test_starts_from_the_weights_of_a_checkpoint(tmp_path: Path, micro: Micro, checkpoint: Path) -> None:
    run = train(micro(tmp_path / "run", init=str(checkpoint), schedule={"lr": 0.0, "weight_decay": 0.0}), CPU)
    assert differences(load(run.last)["model"], load(checkpoint)["model"]) == []


def test_folder_of_a_run(tmp_path: Path, micro: Micro) -> None:
    heard: list[Record] = []
    config = micro(tmp_path / "a" / "run", validation={"batch_size": 2}, schedule={"clip_norm": 0.5})
    run = train(config, CPU, heard.append)
    assert {path.name for path in run.folder.iterdir()} == {
        "config.json", "log.jsonl", "tensorboard", "last.pt", "best.pt"
    }  # fmt: skip

    written = json.loads((run.folder / "config.json").read_text())
    assert written["recipe"]["model"]["channels"] == 16
    assert written["recipe"]["schedule"]["decays"] == [3]
    assert written["data"]["path"] == str(config.data.path)
    assert written["batch_size"] == 2
    assert written["processes"] == 1
    assert written["environment"]["torch"] == torch.__version__
    assert written["environment"]["paa"] == paa.__version__
    assert {"python", "torchvision", "git_commit", "git_changed_files", "command"} <= set(written["environment"])

    records = read_log(run)
    assert records == heard
    trained = [record for record in records if "loss" in record]
    assert [record["step"] for record in trained] == [1, 2, 3, 4]
    for record in trained:
        parts = [record[f"loss_{name}"] for name in ("classification", "box", "iou")]
        assert record["loss"] == pytest.approx(sum(parts))
        assert record["steps"] == 4
        assert record["positives"] > 0
        assert record["gradient_norm"] > 0
        assert record["images_per_second"] > 0
    assert [record["lr"] for record in trained] == pytest.approx([0.002 / 3, 0.002 / 3, 0.002, 0.0002])
    assert trained[0]["seconds_left"] > 0
    assert trained[-1]["seconds_left"] == 0
    assert {"AP", "AP50", "AR100", "evaluation_seconds"} <= set(records[-1])

    events = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    for name in ("loss/classification", "loss/box", "loss/iou", "lr"):
        assert [event.step for event in events.Scalars(name)] == [1, 2, 3, 4]
    assert [event.value for event in events.Scalars("loss/box")] == pytest.approx([r["loss_box"] for r in trained])
    assert len(events.Scalars("AP")) == 4


def test_the_average_is_evaluated_and_saved(tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch) -> None:
    def copy(detector: torch.nn.Module) -> dict[str, torch.Tensor]:
        return {name: tensor.clone() for name, tensor in detector.state_dict().items()}

    weights: list[dict[str, torch.Tensor]] = []
    evaluated: list[dict[str, torch.Tensor]] = []
    train_step, evaluate_weights = engine.train_step, engine.evaluate_weights

    def spy_on_step(run: Run, batch: Batch) -> Any:
        weights.extend([] if weights else [copy(run.state.detector)])
        result = train_step(run, batch)
        weights.append(copy(run.state.detector))
        return result

    def spy_on_evaluation(run: Run) -> Record:
        evaluated.append(copy(run.state.evaluated))
        return {**evaluate_weights(run), "AP": 0.1 * len(evaluated)}

    monkeypatch.setattr(engine, "train_step", spy_on_step)
    monkeypatch.setattr(engine, "evaluate_weights", spy_on_evaluation)
    schedule = {"ema": 0.2, "frozen_stages": 2}
    validation = {"batch_size": 2, "interval": 2}
    run = train(micro(tmp_path / "run", model={"norm": "batch"}, schedule=schedule, validation=validation), CPU)

    average = weights[0]
    for decay, new in zip((1 / 10, 2 / 11, 0.2, 0.2), weights[1:]):
        average = {n: decay * t + (1 - decay) * new[n] if t.is_floating_point() else new[n] for n, t in average.items()}
    content = load(run.last)
    torch.testing.assert_close(content["model"], average)
    assert differences(content["training"]["weights"], weights[-1]) == []
    assert differences(content["model"], content["training"]["weights"])
    assert len(evaluated) == 2
    for path in (run.last, run.best):
        assert differences(load(path)["model"], evaluated[-1]) == []
    assert not paa.load(run.last, "cpu").training


@pytest.mark.parametrize(
    ("values", "best"), [([0.1, 0.3, 0.2], 2), ([None, None, None], 1), ([0.2, 0.2, 0.2], 1), ([None, 0.0, 0.1], 3)]
)
def test_the_best_is_kept(
    tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch, values: list[float | None], best: int
) -> None:
    coming = iter(values)
    monkeypatch.setattr(engine, "evaluate_weights", lambda *_: {"AP": next(coming), "AP50": None})
    run = train(micro(tmp_path / "run", schedule={"steps": 3}, validation={"batch_size": 1, "interval": 1}), CPU)
    content = load(run.best)
    assert content["training"]["step"] == best
    assert content["training"]["best"] == (values[best - 1] or 0.0)
    assert load(run.last)["training"]["step"] == 3
    model = paa.load(run.best, "cpu")
    assert model.names == ("circle", "square", "triangle", "star")


def test_no_validation_needs_no_validation_set(tmp_path: Path, shapes: Path, micro: Micro) -> None:
    data = shutil.copytree(shapes, tmp_path / "data")
    (data / "val.json").unlink()
    run = train(micro(tmp_path / "run", data={"path": data}), CPU)
    assert all("AP" not in record for record in read_log(run))
    assert run.best is None
    with pytest.raises(DataError, match="no COCO annotations for 'val'"):
        train(micro(tmp_path / "other", data={"path": data}, validation={"batch_size": 2}), CPU)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(("limit", "count"), [(None, 2), (1, 1), (9, 2)])
def test_validates_on_the_first_images(
    tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch, limit: int | None, count: int
) -> None:
    seen: list[int] = []
    detect = engine.detect_dataset

    def spy(*given: Any, **options: Any) -> Any:
        return detect(*given, **options, progress=seen.append)

    monkeypatch.setattr(engine, "detect_dataset", spy)
    train(micro(tmp_path / "run", schedule={"steps": 1}, validation={"batch_size": 1, "limit": limit}), CPU)
    assert sum(seen) == count


def test_schedule_scales_with_the_batch(tmp_path: Path, micro: Micro) -> None:
    schedule = {"steps": 6, "decays": (4,), "warmup_steps": 1}
    run = train(micro(tmp_path / "run", batch_size=4, schedule=schedule), CPU)
    assert [record["lr"] for record in read_log(run)] == pytest.approx([0.004 / 3, 0.004, 0.0004])


def test_frozen_statistics_and_trained_weights(tmp_path: Path, micro: Micro, checkpoint: Path) -> None:
    """Starts from a model whose batch norm is frozen."""
    changes = {"model": {"norm": "affine"}, "schedule": {"frozen_stages": 2}, "validation": {"batch_size": 2}}
    run = train(micro(tmp_path / "run", init=str(checkpoint), **changes), CPU)
    before, after = load(checkpoint)["model"], load(run.last)["model"]
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {"backbone.layer2.0.bn1.weight", "backbone.layer4.1.bn2.bias"} <= changed
    assert not [name for name in changed if "running" in name or "layer1" in name or "backbone.bn1" in name]
    assert {name.rpartition(".")[2] for name in set(after) - set(before)} == {"num_batches_tracked"}


@pytest.mark.parametrize(("epochs", "steps"), [(1.0, 4), (0.5, 2), (0.01, 1)])
def test_schedule_in_epochs(tmp_path: Path, micro: Micro, epochs: float, steps: int) -> None:
    run = train(micro(tmp_path / "run", schedule={"steps": 90, "decays": (), "epochs": epochs}), CPU)
    assert [record["step"] for record in read_log(run)] == list(range(1, steps + 1))


def test_bfloat16_channels_last_clipping(tmp_path: Path, micro: Micro) -> None:
    def run(name: str, **runtime: Any) -> list[Record]:
        changes = {"schedule": {"clip_norm": 1e-3}, "validation": {"batch_size": 2}, "runtime": runtime}
        return read_log(train(micro(tmp_path / name, **changes), CPU))

    plain, half = run("plain"), run("half", precision="bfloat16", channels_last=True)
    assert plain[0]["loss"] != half[0]["loss"]
    for a, b in zip(plain, half):
        if "loss" in a:
            assert b["loss"] == pytest.approx(a["loss"], rel=0.05)
            assert b["gradient_norm"] > 1e-3
    assert load(tmp_path / "half" / "last.pt")["model"]["fpn.p6.weight"].dtype == torch.float32


def test_clipping_bounds_the_step(tmp_path: Path, micro: Micro, checkpoint: Path) -> None:
    schedule = {"steps": 1, "clip_norm": 1e-3, "lr": 0.3, "weight_decay": 0.0, "bias_lr_factor": 1.0}
    run = train(micro(tmp_path / "run", init=str(checkpoint), schedule=schedule), CPU)
    before, after = load(checkpoint)["model"], load(run.last)["model"]
    moved = math.sqrt(sum(float((after[name] - before[name]).double().square().sum()) for name in before))
    assert moved == pytest.approx(0.3 / 3 * 1e-3, rel=1e-2)


def damaged(shapes: Path, folder: Path) -> tuple[Path, str]:
    """A copy of the data set in which one image to train on is cut short, and that image's name."""
    data = shutil.copytree(shapes, folder)
    name = json.loads((data / "train.json").read_text())["images"][2]["file_name"]
    (data / "images" / name).write_bytes((data / "images" / name).read_bytes()[:200])
    return data, name


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_stops_the_run(tmp_path: Path, shapes: Path, micro: Micro, workers: int) -> None:
    data, name = damaged(shapes, tmp_path / "data")
    with pytest.raises(ImageError, match=name):
        train(micro(tmp_path / "run", data={"path": data}, runtime={"workers": workers}), CPU)


def test_an_unreadable_image_is_skipped(
    tmp_path: Path, shapes: Path, micro: Micro, caplog: pytest.LogCaptureFixture
) -> None:
    data, name = damaged(shapes, tmp_path / "data")
    with caplog.at_level(logging.WARNING, "paa"):
        run = train(micro(tmp_path / "run", data={"path": data, "skip_bad": True}), CPU)
    assert len(read_log(run)) == 4
    (line,) = (run.folder / "left_out.txt").read_text().splitlines()
    assert line.startswith("train: ")
    assert name in line


def test_images_left_out_while_training(
    tmp_path: Path, shapes: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    names = [image["file_name"] for image in json.loads((shapes / "train.json").read_text())["images"]][:3]
    read = loading.read_image

    def read_image(path: Path, size: tuple[int, int]) -> Any:
        if path.name in names:
            raise ImageError(f"{path}:\n cannot be read")
        return read(path, size)

    monkeypatch.setattr(loading, "read_image", read_image)
    shared: dict[str, Any] = {"data": {"skip_bad": True}, "schedule": {"steps": 8}}
    with caplog.at_level(logging.INFO, "paa"):
        run = train(micro(tmp_path / "run", **shared), CPU)
    lines = (run.folder / "left_out.txt").read_text().splitlines()
    assert sorted(lines) == [f"train: {shapes / 'images' / name}:  cannot be read" for name in sorted(names)]
    assert "train, while training: left out 3:" in [record.getMessage() for record in caplog.records]

    names[:] = names[:1]
    shared["schedule"] = {"steps": 12}
    resumed = train(micro(tmp_path / "run", resume="last", **shared), CPU)
    assert (resumed.folder / "left_out.txt").read_text().splitlines() == lines


def test_images_without_objects(tmp_path: Path, micro: Micro) -> None:
    (tmp_path / "images").mkdir()
    for i in range(4):
        pixels = np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{i}.png")
    images = [{"id": i, "file_name": f"{i}.png", "height": 64, "width": 64} for i in range(4)]
    boxes = [{"id": 1, "image_id": 2, "category_id": 1, "bbox": [10, 10, 40, 40]}]
    for split, objects in (("train", boxes), ("val", [])):
        content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "thing"}]}
        (tmp_path / f"{split}.json").write_text(json.dumps(content))
    shared: dict[str, Any] = {"data": {"path": tmp_path}, "batch_size": 1, "validation": {"batch_size": 2}}
    run = train(micro(tmp_path / "run", schedule={"reference_batch": 1}, **shared), CPU)
    trained = [record for record in read_log(run) if "loss" in record]
    empty = [record for record in trained if record["positives"] == 0]
    assert len(empty) == 3
    for record in empty:
        assert record["loss_box"] == record["loss_iou"] == 0
        assert 0 < record["loss_classification"] < math.inf
    assert read_log(run)[-1]["AP"] is None
    assert load(run.best)["training"]["best"] == 0

    shared["data"] = {"path": tmp_path, "keep_empty": False}
    full = train(micro(tmp_path / "full", schedule={"reference_batch": 1}, **shared), CPU)
    assert all(record["positives"] > 0 for record in read_log(full) if "loss" in record)


def spoil(monkeypatch: pytest.MonkeyPatch, step: int, value: float) -> None:
    """Let the box loss of a step, counted from 0, be `value`."""
    real, calls = setup.paa_losses, iter(range(1000))

    def losses(*given: Any, **options: Any) -> Any:
        result = real(*given, **options)
        if next(calls) == step:
            result.losses["box"] = result.losses["box"] * value
        return result

    monkeypatch.setattr(setup, "paa_losses", losses)


@pytest.mark.parametrize(("value", "log_interval"), [(math.nan, 1), (math.inf, 100)])
def test_a_loss_that_is_not_finite(
    tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch, value: float, log_interval: int
) -> None:
    spoil(monkeypatch, 3, value)  # the fourth
    runtime = {"checkpoint_interval": 1, "log_interval": log_interval}
    with pytest.raises(RunError, match=r"the loss of step 4 is not finite .*images: \d+\.jpg, \d+\.jpg") as caught:
        train(micro(tmp_path / "run", schedule={"steps": 5}, runtime=runtime), CPU)
    assert "\n" not in str(caught.value)
    assert f"{tmp_path / 'run' / 'last.pt'} is from before; a lower learning rate" in str(caught.value)
    content = load(tmp_path / "run" / "last.pt")
    assert content["training"]["step"] == 3
    assert all(bool(tensor.isfinite().all()) for tensor in content["model"].values())
    if log_interval == 1:
        assert [record["step"] for record in read_log(RunFolder(tmp_path / "run"))] == [1, 2, 3]

    monkeypatch.undo()
    resumed = train(micro(tmp_path / "run", resume="last", schedule={"steps": 5}, runtime=runtime), CPU)
    whole = train(micro(tmp_path / "whole", schedule={"steps": 5}, runtime=runtime), CPU)
    assert differences(load(resumed.last), load(whole.last)) == []


def test_a_weight_that_is_not_finite_is_not_saved(
    tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = engine.train_step, iter(range(1000))

    def train_step(run: Run, batch: Batch) -> Any:
        result = real(run, batch)
        if next(calls) == 2:
            with torch.no_grad():
                run.state.detector.fpn.p6.weight[0, 0] = math.inf
        return result

    monkeypatch.setattr(engine, "train_step", train_step)
    with pytest.raises(RunError, match=r"step 3 made fpn\.p6\.weight not finite"):
        train(micro(tmp_path / "run", runtime={"checkpoint_interval": 1}), CPU)
    assert load(tmp_path / "run" / "last.pt")["training"]["step"] == 2


def test_an_average_that_is_not_finite_is_not_saved(
    tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step's infinite weight stays in the average."""
    real, calls = engine.train_step, iter(range(1000))

    def train_step(run: Run, batch: Batch) -> Any:
        call, weight = next(calls), run.state.detector.fpn.p6.weight
        with torch.no_grad():
            weight.nan_to_num_(0, 0, 0)
            result = torch.enable_grad()(real)(run, batch)
            weight[0, 0] = math.inf if call == 1 else 0
        return result

    monkeypatch.setattr(engine, "train_step", train_step)
    shared: dict[str, Any] = {"runtime": {"checkpoint_interval": 3}, "schedule": {"steps": 3}}
    train(micro(tmp_path / "run", **shared), CPU)
    shared["schedule"]["ema"] = 0.9
    calls = iter(range(1000))
    says = r"step 3 made fpn\.p6\.weight not finite\. No checkpoint was saved before; a lower"
    with pytest.raises(RunError, match=says):
        train(micro(tmp_path / "averaged", **shared), CPU)
    assert not (tmp_path / "averaged" / "last.pt").exists()


def test_a_run_needs_its_own_folder(tmp_path: Path, micro: Micro) -> None:
    (tmp_path / "empty").mkdir()
    train(micro(tmp_path / "empty", schedule={"steps": 1}), CPU)
    with pytest.raises(RunError, match="exists and is not empty; give another --output, or --resume"):
        train(micro(tmp_path / "empty"), CPU)
    (tmp_path / "file").write_text("mine")
    for output in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(RunError, match="is not a folder"):
            train(micro(output), CPU)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("changes", "world", "says"),
    [
        ({"batch_size": 0}, 1, "batch_size must be at least 1, got 0"),
        ({"batch_size": 3}, 2, "batch_size must be a multiple of 2, the processes, got 3"),
        ({"schedule": {"lr": math.nan}}, 1, "schedule.lr must be at least 0, got nan"),
        ({"schedule": {"lr": math.inf}}, 1, "schedule.lr must be at least 0, got inf"),
        ({"schedule": {"epochs": 0.0}}, 1, "schedule.epochs must be above 0, got 0.0"),
        ({"schedule": {"ema": 0.0}}, 1, "schedule.ema must be between 0 and 1, got 0.0"),
        ({"schedule": {"ema": 1.0}}, 1, "schedule.ema must be between 0 and 1, got 1.0"),
        ({"schedule": {"ema": math.nan}}, 1, "schedule.ema must be between 0 and 1, got nan"),
        ({"schedule": {"backbone_lr_factor": -1.0}}, 1, "schedule.backbone_lr_factor must be at least 0, got -1.0"),
        ({"augment": {"scale_jitter": (2.0, 1.0)}}, 1, "augment.scale_jitter must be above 0, the lower first"),
        ({"model": {"norm": "batch", "norm_eps": 0.0}}, 1, "model.norm_eps must be above 0 in trained batch norm"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, micro: Micro, changes: dict[str, Any], world: int, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_settings(micro(tmp_path, **changes), world)
    assert says in str(caught.value)


def test_fewer_than_one_step(tmp_path: Path, micro: Micro) -> None:
    with pytest.raises(ConfigError, match="1 steps of 2 images are not one of 8"):
        train(micro(tmp_path / "run", batch_size=8, schedule={"steps": 1}), CPU)
    assert not (tmp_path / "run").exists()
