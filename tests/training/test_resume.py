"""A run that was stopped, by whatever, and is resumed ends as one that was never stopped, to the bit."""

from __future__ import annotations

import json
import logging
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

import paa
from paa.commands.main import main
from paa.errors import CheckpointError, ConfigError, ImageError, RunError
from paa.model.fpn import FeaturePyramid
from paa.training import run as running
from paa.training import train as engine
from paa.training.records import Listener, Record, TrainResult
from paa.training.run import Run
from paa.training.train import train
from tests.training.runs import CPU, KilledError, Micro, differences, kill_at, load, read_log, timeless

AP = {1: 0.1, 2: 0.5, 3: 0.3, 4: 0.6}
"""What the faked validation of each step finds."""
VALIDATED: dict[str, Any] = {"validation": {"batch_size": 2, "interval": 1}}

RECIPES: dict[str, dict[str, Any]] = {
    "sgd": {"schedule": {"steps": 7, "frozen_stages": 2}},
    "adamw, trained batch norm, averaged": {
        "model": {"norm": "batch"},
        "schedule": {
            "steps": 7,
            "frozen_stages": 0,
            "optimizer": "adamw",
            "lr": 1e-3,
            "shape": "cosine",
            "clip_norm": 1.0,
            "ema": 0.3,
        },
    },
}


def stop_at(step: int, kind: str = "loss") -> Listener:
    """Return a listener that stops the run at the training or the validation ("AP") record of a step."""
    return lambda record: paa.STOP if record["step"] == step and kind in record else None


def fake_validation(run: Run) -> Record:
    return {"AP": AP[run.state.step], "AP50": None}


@pytest.fixture(scope="module")
def validated(tmp_path_factory: pytest.TempPathFactory, micro: Micro) -> TrainResult:
    """Return a run with a faked validation after each of its four steps, that was never stopped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "evaluate_weights", fake_validation)
        return train(micro(tmp_path_factory.mktemp("runs") / "validated", **VALIDATED), CPU)


def assert_same(run: TrainResult, whole: TrainResult) -> None:
    """Assert that two runs have equal checkpoints and equal logs."""
    for name in ("last.pt", "best.pt"):
        assert differences(load(whole.folder / name), load(run.folder / name)) == []
    assert timeless(read_log(run.log)) == timeless(read_log(whole.log))


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_stopped_and_resumed_is_one_never_stopped(tmp_path: Path, micro: Micro, recipe: str) -> None:
    """Killed in step 4, resumed, stopped by its listener after step 5, and resumed again."""
    shared: dict[str, Any] = {
        **RECIPES[recipe],
        "augment": {"scale_jitter": (0.7, 1.4), "color_jitter": 0.2},
        "validation": {"batch_size": 2, "interval": 3},
        "runtime": {"checkpoint_interval": 2},
    }
    whole = train(micro(tmp_path / "whole", **shared), CPU)
    with pytest.raises(KilledError):
        train(micro(tmp_path / "stopped", **shared), CPU, kill_at(4))
    assert load(tmp_path / "stopped" / "last.pt")["training"]["step"] == 3
    stopped = train(micro(tmp_path / "stopped", resume="last", **shared), CPU, stop_at(5))
    assert (stopped.step, stopped.stopped, load(stopped.last)["training"]["step"]) == (5, True, 5)
    resumed = train(micro(tmp_path / "stopped", resume="last", **shared), CPU)

    assert load(whole.last)["training"]["step"] == 7
    assert load(whole.last)["training"]["optimizer"]["state"]
    assert_same(resumed, whole)
    trained = [record["step"] for record in read_log(resumed.log) if "loss" in record]
    assert trained == list(range(1, 8))
    assert [record["step"] for record in read_log(resumed.log) if "AP" in record] == [3, 6, 7]
    assert (resumed.step, resumed.stopped) == (whole.step, whole.stopped) == (7, False)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_what_is_left_out_at_random_is_the_same_in_a_resumed_run(
    tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch, accumulate: int
) -> None:
    """Dropout, and the stochastic depth of some of timm's backbones; the program's own random numbers do not count."""
    forward = FeaturePyramid.forward

    def dropping(self: FeaturePyramid, features: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(F.dropout(level, 0.3, self.training) for level in forward(self, features))

    monkeypatch.setattr(FeaturePyramid, "forward", dropping)
    shared: dict[str, Any] = {"accumulate": accumulate, "validation": {"batch_size": 0}}
    whole = train(micro(tmp_path / "whole", **shared), CPU)
    train(micro(tmp_path / "stopped", **shared), CPU, stop_at(2))
    torch.rand(3)
    resumed = train(micro(tmp_path / "stopped", resume="last", **shared), CPU)
    assert differences(load(whole.last), load(resumed.last)) == []
    losses = [record["loss"] for record in read_log(whole.log) if "loss" in record]
    monkeypatch.setattr(FeaturePyramid, "forward", forward)
    without = train(micro(tmp_path / "without", **shared), CPU)
    assert losses != [record["loss"] for record in read_log(without.log) if "loss" in record]


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (2, "loss"),  # its validation is due: the run stops before it
        (2, "AP"),  # as a rule does that looks at the validations
        (4, "loss"),  # only the last validation is left to do
        (4, "AP"),  # nothing is left to do
    ],
)
def test_a_listener_stops_a_run(
    tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch, validated: TrainResult, step: int, kind: str
) -> None:
    monkeypatch.setattr(engine, "evaluate_weights", fake_validation)
    run = train(micro(tmp_path / "run", **VALIDATED), CPU, stop_at(step, kind))
    assert (run.step, run.stopped) == (step, (step, kind) != (4, "AP"))
    whole, validations = read_log(validated.log), step if kind == "AP" else step - 1
    assert timeless(read_log(run.log)) == timeless(whole[: step + validations])
    assert run.training is not None
    assert run.validation is not None
    assert (run.training["step"], run.validation["AP"]) == (step, AP[validations])
    assert load(run.last)["training"]["step"] == step
    assert load(run.last)["training"]["validation_due"] == (kind == "loss")
    assert not (run.folder / "lock").exists()
    resumed = train(micro(tmp_path / "run", resume="last", **VALIDATED), CPU)
    assert (resumed.step, resumed.stopped, resumed.validation) == (4, False, whole[-1])
    assert_same(resumed, validated)


@pytest.mark.parametrize(("patience", "steps"), [(1, 3), (2, 4)])
def test_a_run_without_a_better_validation_stops(
    tmp_path: Path,
    micro: Micro,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    validated: TrainResult,
    patience: int,
    steps: int,
) -> None:
    """A process that is killed and resumed counts the same validations; without patience the run goes on to its end."""
    monkeypatch.setattr(engine, "evaluate_weights", fake_validation)
    impatient: dict[str, Any] = {"validation": {**VALIDATED["validation"], "patience": patience}}
    with pytest.raises(KilledError):
        train(micro(tmp_path / "run", **impatient), CPU, kill_at(3))
    for _ in range(2):  # the second time nothing is left to do
        caplog.clear()
        with caplog.at_level(logging.INFO, "paa"):
            run = train(micro(tmp_path / "run", resume="last", **impatient), CPU)
        assert (run.step, run.stopped) == (steps, steps < 4)
        assert timeless(read_log(run.log)) == timeless(read_log(validated.log))[: 2 * steps]
        said = [record.getMessage() for record in caplog.records if "stopped at" in record.getMessage()]
        best = f"AP was highest, 50.0, 1 validation ago; {run.best} is the one to use"
        assert said == ([f"stopped at step 3 of 4: {best}"] if steps < 4 else [])
    assert run.best is not None
    assert load(run.best)["training"]["step"] == (2 if steps < 4 else 4)
    assert_same(train(micro(tmp_path / "run", resume="last", **VALIDATED), CPU), validated)


@pytest.mark.parametrize("killed_in", ["evaluation", "record", "best", "last"])
@pytest.mark.parametrize("step", [2, 4])
def test_a_run_killed_in_a_validation_ends_as_one_never_stopped(
    tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch, validated: TrainResult, killed_in: str, step: int
) -> None:
    """Killed before its record is written, while that is written, before best.pt is saved, before last.pt is saved."""
    real_save, real_add = running.save_checkpoint, SummaryWriter.add_scalar

    def evaluate_weights(run: Run) -> Record:
        if killed_in == "evaluation" and run.state.step == step:
            raise KilledError
        return fake_validation(run)

    def save(path: Path, content: dict[str, Any]) -> None:
        training = content["training"]
        if training["step"] == step and not training["validation_due"] and path.name == f"{killed_in}.pt":
            raise KilledError
        real_save(path, content)

    def add(board: SummaryWriter, name: str, value: Any, at: int) -> None:
        if (killed_in, name, at) == ("record", "AP", step):
            raise KilledError
        real_add(board, name, value, at)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "evaluate_weights", evaluate_weights)
        patch.setattr(running, "save_checkpoint", save)
        patch.setattr(SummaryWriter, "add_scalar", add)
        with pytest.raises(KilledError):
            train(micro(tmp_path / "run", **VALIDATED), CPU)
    saved = load(tmp_path / "run" / "last.pt")["training"]
    assert (saved["step"], saved["best"]) == (step, 0.1 if step == 2 else 0.5)
    monkeypatch.setattr(engine, "evaluate_weights", fake_validation)
    run = train(micro(tmp_path / "run", resume="last", **VALIDATED), CPU)
    assert_same(run, validated)
    assert run.best is not None
    assert load(run.best)["training"]["best"] == 0.6
    events = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("AP")] == [
        (step, pytest.approx(value)) for step, value in AP.items()
    ]
    assert [event.step for event in events.Scalars("loss/box")] == [1, 2, 3, 4]


def test_a_validation_that_fails_loses_nothing(tmp_path: Path, shapes: Path, micro: Micro) -> None:
    data = shutil.copytree(shapes, tmp_path / "data")
    image = data / "images" / json.loads((data / "val.json").read_text())["images"][0]["file_name"]
    content = image.read_bytes()
    shared: dict[str, Any] = {"data": {"path": data}, "validation": {"batch_size": 2, "interval": 4}}

    def damage(record: Record) -> None:
        if record["step"] == 3:
            image.write_bytes(b"no image")

    says = rf"{image.name}: a text, not an image.*validating step 4, which .*run/last\.pt holds\)"
    with pytest.raises(ImageError, match=says) as caught:
        train(micro(tmp_path / "run", **shared), CPU, damage)
    assert "\n" not in str(caught.value)
    assert load(tmp_path / "run" / "last.pt")["training"]["step"] == 4
    assert not (tmp_path / "run" / "lock").exists()
    without = shutil.copytree(tmp_path / "run", tmp_path / "without")
    shared_data = {"data": shared["data"]}
    assert train(micro(without, resume="last", **shared_data), CPU).validation is None  # it validates no more
    image.write_bytes(content)
    run = train(micro(tmp_path / "run", resume="last", **shared), CPU)
    assert_same(run, train(micro(tmp_path / "whole", **shared), CPU))


WAITING = """
import sys
from paa.commands.main import main
from paa.report import progress

def wait_at_5(record):
    if record["step"] == 5:
        print("step 5", flush=True)
        sys.stdin.read()

progress.TrainingProgress = lambda console: wait_at_5
main(sys.argv[1:])
"""


def test_a_process_that_is_killed(
    tmp_path: Path, shapes: Path, options: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """While it runs no other process may write to its folder; killed, though its workers live on, it is resumed."""

    def arguments(output: str, *more: str) -> list[str]:
        shared = ["--schedule.steps", "8", "--checkpoint-interval", "3", "--val-batch-size", "0"]
        return ["train", "--data", str(shapes), *options, *shared, "--output", str(tmp_path / output), *more]

    command = [sys.executable, "-c", WAITING, *arguments("killed", "--workers", "1")]
    first = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert first.stdout is not None
    try:
        assert first.stdout.readline() == b"step 5\n"
        with pytest.raises(SystemExit):
            main(arguments("killed", "--resume"))
        says = rf"paa: error: {tmp_path}/killed: process {first.pid} on \S+ \(since \S+\) is writing this run; .*"
        assert re.fullmatch(says, capfd.readouterr().err.splitlines()[-1])
        assert first.poll() is None
    finally:
        first.kill()
    assert first.wait() == -signal.SIGKILL
    assert load(tmp_path / "killed" / "last.pt")["training"]["step"] == 3
    (tmp_path / "killed" / "last.pt.1-0123abcd.tmp").write_text("half a checkpoint")

    main(arguments("killed", "--resume"))
    assert f"lock: left by process {first.pid} on " in capfd.readouterr().err
    main(arguments("whole"))
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    assert differences(load(killed / "last.pt"), load(whole / "last.pt")) == []
    assert timeless(read_log(killed / "log.jsonl")) == timeless(read_log(whole / "log.jsonl"))
    files = {"config.json", "recipe.json", "log.jsonl", "tensorboard", "last.pt", "previous.pt", "README.md"}
    assert {path.name for path in killed.iterdir()} == files


def test_resumes_from_an_earlier_checkpoint(tmp_path: Path, micro: Micro, whole: TrainResult) -> None:
    with pytest.raises(KilledError):
        train(micro(tmp_path / "half", runtime={"checkpoint_interval": 2}), CPU, kill_at(3))
    half = tmp_path / "half" / "last.pt"

    elsewhere = train(micro(tmp_path / "elsewhere", resume=half), CPU)
    assert differences(load(elsewhere.last), load(whole.last)) == []
    assert [record["step"] for record in read_log(elsewhere.log)] == [3, 4]
    assert load(half)["training"]["step"] == 2
    with pytest.raises(RunError, match="exists and is not empty"):
        train(micro(elsewhere.folder, resume=half), CPU)

    earlier = shutil.copy(half, elsewhere.folder / "earlier.pt")
    before = elsewhere.last.read_bytes(), elsewhere.log.read_text()
    with pytest.raises(RunError, match=r"last\.pt: is of step 4, later than earlier\.pt"):
        train(micro(elsewhere.folder, resume=earlier), CPU)
    assert (elsewhere.last.read_bytes(), elsewhere.log.read_text()) == before

    finished = elsewhere.log.read_text()
    again = train(micro(elsewhere.folder, resume="last"), CPU, kill_at(0))
    assert (again.step, again.training) == (4, elsewhere.training)
    assert elsewhere.log.read_text() == finished


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
def test_a_run_is_not_resumed_with_other_settings(
    micro: Micro, whole: TrainResult, changes: dict[str, Any], says: str
) -> None:
    before = whole.last.read_bytes(), whole.log.read_text()
    with pytest.raises(ConfigError, match=says):
        train(micro(whole.folder, resume="last", **changes), CPU)
    assert (whole.last.read_bytes(), whole.log.read_text()) == before


def test_a_learning_rate_is_scaled_by_the_batch_in_a_resumed_run_as_before(tmp_path: Path, micro: Micro) -> None:
    """A value that a person names is used as it is; the same value of the recipe is for the recipe's batch."""
    four = {"batch_size": 4, "named": ("schedule.warmup_steps",)}
    with_rate = {**four, "named": ("schedule.warmup_steps", "schedule.lr")}
    for first, then, says in (
        (with_rate, four, "had schedule.lr 0.002, not 0.002, scaled from batches of 2;"),
        (four, with_rate, "had schedule.lr 0.002, scaled from batches of 2, not 0.002;"),
    ):
        folder = tmp_path / says[:40]
        train(micro(folder, **first), CPU)
        with pytest.raises(ConfigError, match=says):
            train(micro(folder, resume="last", **then), CPU)
        assert train(micro(folder, resume="last", **first), CPU).step == 2  # the recipe's four are of half the batch
    train(micro(tmp_path / "one"), CPU)  # for the recipe's batch, naming changes nothing
    train(micro(tmp_path / "one", resume="last", named=with_rate["named"]), CPU)


@pytest.mark.parametrize("found", ["nothing", "an empty folder", "config.json", "a log"])
def test_resuming_a_run_without_a_checkpoint_starts_it(
    tmp_path: Path, micro: Micro, whole: TrainResult, found: str
) -> None:
    """As a job's script does, which is restarted as it is."""
    if found == "an empty folder":
        (tmp_path / "run").mkdir()
    if found == "config.json":
        (tmp_path / "run").mkdir()
        shutil.copy(whole.folder / "config.json", tmp_path / "run")
    if found == "a log":
        with pytest.raises(KilledError):
            train(micro(tmp_path / "run"), CPU, kill_at(2))
        assert not (tmp_path / "run" / "last.pt").exists()
    run = train(micro(tmp_path / "run", resume="last"), CPU)
    assert differences(load(run.last), load(whole.last)) == []
    assert timeless(read_log(run.log)) == timeless(read_log(whole.log))


def test_a_run_whose_last_checkpoint_is_gone_is_not_started_again(
    tmp_path: Path, micro: Micro, validated: TrainResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(validated.folder, tmp_path / "run")
    last, best = run / "last.pt", run / "best.pt"
    last.unlink()
    (run / "previous.pt").unlink()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for says in (r"--resume .*run/best\.pt", r"log\.jsonl goes up to step 4"):
        with pytest.raises(RunError, match=rf"last\.pt: no such file, but .*{says}.*another --output"):
            train(micro(run, resume="last", **VALIDATED), CPU)
        assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
        before.pop(best, None)
        best.unlink(missing_ok=True)

    monkeypatch.setattr(engine, "evaluate_weights", fake_validation)
    half = train(micro(tmp_path / "half", **VALIDATED), CPU, stop_at(2, "AP"))
    shutil.copy(half.last, best)
    train(micro(run, resume=best, **VALIDATED), CPU)
    assert load(last)["training"]["step"] == 4
    assert timeless(read_log(run / "log.jsonl")) == timeless(read_log(validated.log))


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(
    tmp_path: Path, micro: Micro, whole: TrainResult
) -> None:
    with pytest.raises(KilledError):
        train(micro(tmp_path / "run", runtime={"checkpoint_interval": 1}), CPU, kill_at(4))
    folder = tmp_path / "run"
    content = (folder / "last.pt").read_bytes()
    assert load(folder / "last.pt")["training"]["step"] == 3
    (folder / "last.pt").write_bytes(content[: len(content) // 2])
    run = train(micro(folder, resume="last"), CPU)
    assert differences(load(run.last), load(whole.last)) == []
    assert timeless(read_log(run.log)) == timeless(read_log(whole.log))
    assert (folder / "damaged.pt").read_bytes() == content[: len(content) // 2]
    assert load(folder / "previous.pt")["training"]["step"] == 2


@pytest.mark.parametrize(
    ("other", "says"),
    [({"limit": 1}, "validation.images 2, not 1"), ({"voting": False}, "validation.voting True, not False")],
    ids=["fewer images", "without voting"],
)
def test_a_run_is_not_resumed_with_another_validation(
    tmp_path: Path, micro: Micro, other: dict[str, Any], says: str
) -> None:
    """Its best AP so far holds for the first one alone."""
    train(micro(tmp_path / "run", **VALIDATED), CPU, stop_at(2, "AP"))
    best = (tmp_path / "run" / "best.pt").read_bytes()
    changed = {"validation": {**VALIDATED["validation"], **other}}
    with pytest.raises(ConfigError, match=re.escape(says)):
        train(micro(tmp_path / "run", resume="last", **changed), CPU)
    without = train(micro(tmp_path / "run", resume="last", validation={"batch_size": 0}), CPU, stop_at(3))
    assert without.step == 3
    assert (tmp_path / "run" / "best.pt").read_bytes() == best


def test_a_run_is_not_resumed_on_data_with_other_boxes(tmp_path: Path, micro: Micro, shapes: Path) -> None:
    data = shutil.copytree(shapes, tmp_path / "data")
    options: dict[str, Any] = {"data": {"path": data}, "validation": {"batch_size": 0}}
    train(micro(tmp_path / "run", **options), CPU, stop_at(2))
    file = data / "train.json"
    content = json.loads(file.read_text())
    content["annotations"][3]["bbox"][2] -= 1
    file.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="checksum of the data set"):
        train(micro(tmp_path / "run", resume="last", **options), CPU)


def test_a_run_that_goes_on_in_another_folder_has_a_best_checkpoint_there(
    tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "evaluate_weights", fake_validation)
    train(micro(tmp_path / "old", **VALIDATED), CPU, stop_at(2, "AP"))
    patient = {"validation": {**VALIDATED["validation"], "patience": 1}}
    new = train(micro(tmp_path / "new", resume=tmp_path / "old" / "last.pt", **patient), CPU)
    assert new.step == 4  # 0.3, then 0.6: neither is below the best of this folder
    assert new.best is not None
    assert load(new.best)["training"]["best_step"] == 4
    assert load(tmp_path / "old" / "best.pt")["training"]["best_step"] == 2


def test_a_sound_last_checkpoint_is_not_called_damaged(tmp_path: Path, micro: Micro) -> None:
    first = train(micro(tmp_path / "run", validation={"batch_size": 0}, runtime={"checkpoint_interval": 1}), CPU)
    with pytest.raises(RunError, match=r"last\.pt: is of step 4, later than previous\.pt"):
        train(micro(tmp_path / "run", resume=first.folder / "previous.pt", validation={"batch_size": 0}), CPU)
    assert not (first.folder / "damaged.pt").exists()


def test_a_folder_given_to_resume_is_answered_with_its_last_checkpoint(tmp_path: Path, micro: Micro) -> None:
    first = train(micro(tmp_path / "run", validation={"batch_size": 2, "interval": 2}), CPU)
    with pytest.raises(CheckpointError, match=re.escape(f"name the file in it, {first.last}")):
        train(micro(tmp_path / "new", resume=first.folder), CPU)


def test_a_checkpoint_that_is_a_link_is_of_its_folder(
    tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where checkpoints are kept on another disk: the best one stays the best."""
    monkeypatch.setattr(engine, "evaluate_weights", fake_validation)
    first = train(micro(tmp_path / "run", **VALIDATED), CPU, stop_at(2, "AP"))
    first.last.rename(tmp_path / "elsewhere.pt")
    first.last.symlink_to(tmp_path / "elsewhere.pt")
    resumed = train(micro(tmp_path / "run", resume="last", **VALIDATED), CPU, stop_at(3, "AP"))
    assert resumed.best is not None
    assert load(resumed.best)["training"]["best_step"] == 2


def test_a_validation_that_was_off_for_a_while_is_the_same_again(tmp_path: Path, micro: Micro) -> None:
    train(micro(tmp_path / "run", **VALIDATED), CPU, stop_at(1, "AP"))
    train(micro(tmp_path / "run", resume="last", validation={"batch_size": 0}), CPU, stop_at(2))
    other = {"validation": {**VALIDATED["validation"], "limit": 1}}
    with pytest.raises(ConfigError, match=re.escape("validation.images 2, not 1")):
        train(micro(tmp_path / "run", resume="last", **other), CPU)
    assert train(micro(tmp_path / "run", resume="last", **VALIDATED), CPU).step == 4


def test_a_finished_run_that_is_resumed_elsewhere_is_there(tmp_path: Path, micro: Micro, whole: TrainResult) -> None:
    again = train(micro(tmp_path / "new", resume=whole.last), CPU)
    assert again.last.exists()
    assert not differences(load(whole.last)["model"], load(again.last)["model"])
