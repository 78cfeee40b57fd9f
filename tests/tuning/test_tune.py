"""A search: its trials, how it goes on where it was stopped, and what it finds."""

from __future__ import annotations

import json
import logging
import math
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import paa.training.many_runs as many_runs
import paa.tuning.run_trial as running
from paa.commands.main import main
from paa.config import DataConfig
from paa.errors import ConfigError, RunError
from paa.recipes import RECIPES, find_recipe
from paa.runtime.distributed import Process
from paa.runtime.stop_signals import StoppedError, StopSignals
from paa.training.auto import AUGMENTED
from paa.training.records import Record, ignore
from paa.training.run_folder import RunFolder
from paa.training.settings import TrainConfig
from paa.training.train import train
from paa.tuning import tune as search
from paa.tuning.base import find_base
from paa.tuning.tune import TuneConfig, tune
from tests.training.runs import CPU, KilledError, Micro, differences, load, read_log

optuna = pytest.importorskip("optuna")

FOUR = [1, 2, 2, 3, 4, 4]
"""The steps of the records of a run."""
Fake = Callable[[TrainConfig], float | None]


@pytest.fixture
def config(tmp_path: Path, micro: Micro) -> TrainConfig:
    return micro(tmp_path / "tune", validation={"batch_size": 2, "interval": 2})


@pytest.fixture
def fake_training(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fake], list[TrainConfig]]:
    """Return a function that puts another one in the place of training, and returns the list of runs to come."""

    def replace_training(ap_of: Fake) -> list[TrainConfig]:
        runs: list[TrainConfig] = []

        def run(config: TrainConfig, process: Process, listener: Any, signals: Any = None, **_: Any) -> Any:
            runs.append(config)
            folder = RunFolder(config.output)
            folder.path.mkdir(parents=True, exist_ok=True)
            folder.write_recipe(config.recipe)
            ap = ap_of(config)
            folder.append({"step": 4, "steps": 4, "loss": 1.0})
            folder.append(record := {"step": 4, "AP": ap})
            listener(record)
            return SimpleNamespace(validation=record, interrupted=False)

        monkeypatch.setattr(many_runs, "train", run)
        return runs

    return replace_training


def peak(config: TrainConfig) -> float:
    """Return an AP that is highest at a learning rate of 0.004."""
    return 1 - abs(math.log(config.recipe.schedule.lr / 0.004)) / 10


def test_the_best_trial_is_the_best(config: TrainConfig, fake_training: Any) -> None:
    runs = fake_training(peak)
    result = tune(TuneConfig(config, trials=16), CPU)
    assert [trial.number for trial in result.finished] == list(range(16))
    space = {parameter.name: parameter for parameter in find_base(config, CPU).space}
    for trial, run in zip(result.finished, runs):
        assert set(trial.values) == set(space)
        assert all(space[name].holds(value) for name, value in trial.values.items())
        assert run.recipe.schedule.lr == trial.values["schedule.lr"]
        assert run.output == config.output / trial.folder
        assert trial.ap == pytest.approx(peak(run))
    assert result.finished[0].values == {name: parameter.base for name, parameter in space.items()}
    assert result.best is not None
    assert result.best.ap == max(trial.ap for trial in result.finished)
    assert result.best.ap >= result.finished[0].ap
    assert find_recipe(str(result.recipe)) == runs[result.best.number].recipe
    assert len({trial.values["schedule.lr"] for trial in result.finished}) == 16
    assert set(result.importances) == set(space)
    assert sum(result.importances.values()) == pytest.approx(1)


def test_the_same_command_goes_on(config: TrainConfig, fake_training: Any) -> None:
    runs = fake_training(peak)
    first = tune(TuneConfig(config, trials=3), CPU)
    again = tune(TuneConfig(config, trials=5), CPU)
    assert len(runs) == 5
    assert again.finished[:3] == first.finished
    assert len({trial.values["schedule.lr"] for trial in again.finished}) == 5  # nothing is proposed twice
    tune(TuneConfig(config, trials=5), CPU)
    assert len(runs) == 5
    other = replace(config, recipe=replace(config.recipe, schedule=replace(config.recipe.schedule, lr=0.5)))
    with pytest.raises(ConfigError, match=r"tune\.db: its run had schedule\.lr 0\.002, not 0\.5; tuned schedule\.lr"):
        tune(TuneConfig(other, trials=6), CPU)
    with pytest.raises(ConfigError, match="trial steps None, not 2"):
        tune(TuneConfig(config, trials=6, trial_steps=2), CPU)
    other = replace(config, validation=replace(config.validation, voting=False))
    with pytest.raises(ConfigError, match=r"validation\.voting True, not False"):
        tune(TuneConfig(other, trials=6), CPU)
    other = replace(config, runtime=replace(config.runtime, seed=5))
    with pytest.raises(ConfigError, match=r"runtime\.seed 0, not 5"):
        tune(TuneConfig(other, trials=6), CPU)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_search_does_not_go_on_with_other_boxes(
    config: TrainConfig, fake_training: Any, shapes: Path, tmp_path: Path, split: str
) -> None:
    """Of the same number, so that only their places tell."""
    fake_training(peak)
    data = tmp_path / "data"
    shutil.copytree(shapes, data)
    own = replace(config, data=replace(config.data, path=data, val_split="val"), named=("data.val_split",))
    tune(TuneConfig(own, trials=1), CPU)
    tune(TuneConfig(own, trials=2), CPU)
    (file,) = data.glob(f"**/*{split}*.json")
    content = json.loads(file.read_text())
    content["annotations"][0]["bbox"][2] -= 1
    file.write_text(json.dumps(content))
    of = "train" if split == "train" else "judge"
    with pytest.raises(ConfigError, match=rf"its run had checksum of the images to {of} on \w+, not \w+; to resume"):
        tune(TuneConfig(own, trials=3), CPU)
    study = optuna.load_study(study_name="paa", storage=f"sqlite:///{config.output / 'tune.db'}")
    settings = study.user_attrs["settings"]  # as an earlier version wrote them
    study.set_user_attr("settings", {name: value for name, value in settings.items() if "checksum" not in name})
    tune(TuneConfig(own, trials=3), CPU)


def test_the_best_trial_s_folder_may_be_removed(
    config: TrainConfig, fake_training: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fake_training(peak)
    first = tune(TuneConfig(config, trials=2), CPU)
    assert first.best is not None
    recipe = first.recipe.read_text()
    shutil.rmtree(config.output / first.best.folder)
    tune(TuneConfig(config, trials=2), CPU)
    assert first.recipe.read_text() == recipe
    assert f"{first.best.folder}/recipe.json: not there any more; {first.recipe}" in caplog.text


def test_real_runs_killed_and_continued(config: TrainConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A trial that was killed is marked as failed, and its run goes on where its last checkpoint is."""
    seen: list[tuple[str, int]] = []

    def kill(record: Record) -> None:
        trials = sorted(config.output.glob("trial-*"))
        seen.append((trials[-1].name, record["step"]))
        if seen[-1] == ("trial-001", 3):
            raise KilledError

    with pytest.raises(KilledError):
        tune(TuneConfig(config, trials=3, prune=False), CPU, kill)
    before = (config.output / "trial-000" / "log.jsonl").read_text()
    with caplog.at_level(logging.INFO, "paa"):
        result = tune(TuneConfig(config, trials=3, prune=False), CPU, lambda r: seen.append(("", r["step"])))
    assert "trials done before: 1, and the one that was stopped is tried again" in caplog.text
    assert "judged on" in caplog.text
    assert [(trial.number, trial.folder, trial.state) for trial in result.finished] == [
        (0, "trial-000", "done"),
        (2, "trial-001", "done"),
        (3, "trial-003", "done"),
    ]
    assert (config.output / "trial-000" / "log.jsonl").read_text() == before
    steps = [step for _, step in seen]
    # trial 0; trial 1 up to its end by force, then from its checkpoint at step 2; trial 3
    assert steps == [*FOUR, *FOUR[:4], *FOUR[3:], *FOUR]
    for trial in result.finished:
        validations = [r for r in read_log(config.output / trial.folder / "log.jsonl") if "AP" in r]
        assert trial.ap == validations[-1]["AP"]
    assert result.best is not None
    recipe = json.loads(result.recipe.read_text())
    assert recipe == json.loads((config.output / result.best.folder / "recipe.json").read_text())

    named = replace(config, output=tmp_path / "alone", named=(*config.named, "data.val_fraction"))
    assert differences(load(train(named, CPU).last), load(config.output / "trial-000" / "last.pt")) == []


def test_a_signal_ends_the_search_after_a_step(config: TrainConfig) -> None:
    """The trial that was running is no result; the same call goes on with it after its last step."""
    steps: list[int] = []

    def interrupt(record: Record) -> None:
        steps.append(record["step"])
        if len(steps) == len(FOUR) + 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with StopSignals().handled() as signals, pytest.raises(StoppedError):
        tune(TuneConfig(config, trials=2, prune=False), CPU, interrupt, signals)
    assert (signals.exit_code, steps) == (75, [*FOUR, 1])
    result = tune(TuneConfig(config, trials=2, prune=False), CPU, lambda record: steps.append(record["step"]))
    assert [(trial.folder, trial.state) for trial in result.finished] == [("trial-000", "done"), ("trial-001", "done")]
    assert steps == [*FOUR, *FOUR]


def test_the_time_is_that_of_the_search(config: TrainConfig, fake_training: Any) -> None:
    """Each trial has what is left of it, and none is begun after it."""
    runs = fake_training(peak)
    limited = replace(config, runtime=replace(config.runtime, max_hours=1.0))
    now = iter(range(0, 100_000, 1000))
    with pytest.raises(StoppedError):
        tune(TuneConfig(limited, trials=50), CPU, clock=lambda: next(now))
    assert [run.runtime.max_hours for run in runs] == pytest.approx([2600 / 3600, 1600 / 3600, 600 / 3600])
    assert len(tune(TuneConfig(config, trials=4), CPU).finished) == 4


def test_the_own_validation_images_stay_unseen(config: TrainConfig) -> None:
    base = find_base(config, CPU)
    assert len(base.index) + len(base.val_index) == 8  # of the training split, of which there are 8
    assert base.val_source == "a share of 0.15 of split 'train', not trained on"
    chosen = find_base(replace(config, named=(*config.named, "data.val_split")), CPU)
    assert (len(chosen.index), len(chosen.val_index), chosen.val_source) == (8, 2, "split 'val'")
    with pytest.raises(ConfigError, match="--val-batch-size cannot be 0"):
        find_base(replace(config, validation=replace(config.validation, batch_size=0)), CPU)


def test_a_trial_that_fails_is_written_down(config: TrainConfig, fake_training: Any) -> None:
    def fails(config: TrainConfig) -> float:
        if config.output.name not in ("trial-000", "trial-002"):
            raise RunError("step 2: a loss is not finite")
        return peak(config)

    fake_training(fails)
    result = tune(TuneConfig(config, trials=4), CPU)
    assert [trial.state for trial in result.finished] == ["done", "failed", "done", "failed"]
    assert [trial.ap is None for trial in result.finished] == [False, True, False, True]
    with pytest.raises(RunError, match="not finite"):  # where one after the other fails, something else is wrong
        tune(TuneConfig(config, trials=20), CPU)
    assert len(tune(TuneConfig(config, trials=1), CPU).finished) == 9


def test_a_base_that_fails_ends_the_search(config: TrainConfig, fake_training: Any) -> None:
    def fails(config: TrainConfig) -> float:
        raise RunError("no space left")

    fake_training(fails)
    with pytest.raises(RunError, match="no space left"):
        tune(TuneConfig(config, trials=3), CPU)
    assert not (config.output / "recipe.json").exists()
    fake_training(peak)  # there is space again: the base is what the other trials are compared with
    base, other = tune(TuneConfig(config, trials=2), CPU).finished
    assert (base.folder, base.state, other.state) == ("trial-000", "done", "done")


def test_the_best_recipe_is_written_also_where_an_earlier_call_ended_before_it(
    config: TrainConfig, fake_training: Any
) -> None:
    fake_training(peak)
    result = tune(TuneConfig(config, trials=3), CPU)
    best = result.recipe.read_text()
    result.recipe.write_text("of a trial before")
    assert tune(TuneConfig(config, trials=3), CPU).recipe.read_text() == best


def test_a_search_goes_on_where_recipes_have_a_new_field(
    config: TrainConfig, fake_training: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_training(peak)
    settings = search._settings

    def before(*given: Any) -> dict[str, object]:
        return {name: value for name, value in settings(*given).items() if name != "schedule.prior_probability"}

    with monkeypatch.context() as patch:
        patch.setattr(search, "_settings", before)
        tune(TuneConfig(config, trials=1), CPU)
    assert len(tune(TuneConfig(config, trials=2), CPU).finished) == 2


def test_a_trial_that_falls_behind_is_stopped(config: TrainConfig, tmp_path: Path) -> None:
    reports: list[int] = []

    def report(aps: list[float]) -> bool:
        reports.append(len(aps))
        return True

    trial: Any = SimpleNamespace(folder="trial-007", report=report)
    state, _ = running.run_trial(config, trial, tmp_path, CPU, True, ignore)
    assert (state, reports) == ("pruned", [1])
    assert [r["step"] for r in read_log(tmp_path / "trial-007" / "log.jsonl")] == [1, 2, 2]
    trial.folder = "trial-008"
    state, _ = running.run_trial(config, trial, tmp_path, CPU, False, ignore)
    assert (state, reports) == ("done", [1, 1, 2])


def test_no_trial_is_begun_after_the_time(config: TrainConfig, fake_training: Any) -> None:
    runs = fake_training(peak)
    now = iter(range(0, 100_000, 1000))
    tune(TuneConfig(config, trials=50, hours=1), CPU, clock=lambda: next(now))
    assert len(runs) == 3


def test_short_trials_give_a_recipe_of_full_length(config: TrainConfig, fake_training: Any) -> None:
    runs = fake_training(peak)
    result = tune(TuneConfig(config, trials=4, trial_steps=2), CPU)
    assert [run.recipe.schedule.steps for run in runs] == [2] * 4
    assert "schedule.steps" in runs[0].named
    recipe = find_recipe(str(result.recipe))
    assert (recipe.schedule.steps, recipe.schedule.decays) == (4, (3,))
    assert result.best is not None
    assert recipe.schedule.lr == pytest.approx(result.best.values["schedule.lr"])


def of_trial(config: TrainConfig, steps: int, **values: Any) -> TrainConfig:
    """Return the configuration of a trial with these values, and the base's others."""
    base = find_base(config, CPU)
    return base.of_trial({parameter.name: parameter.base for parameter in base.space} | values, steps)


def test_short_trials_keep_the_course_of_the_learning_rate(tmp_path: Path, shapes: Path) -> None:
    config = TrainConfig(DataConfig(shapes), tmp_path / "tune", RECIPES["r50_1x"], batch_size=16)
    schedule = of_trial(config, 900).recipe.schedule
    assert (schedule.steps, schedule.decays) == (900, (600, 800))
    assert schedule.warmup_steps == min(config.recipe.schedule.warmup_steps, 225)
    named = replace(config, named=("schedule.decays", "schedule.warmup_steps"))
    schedule = of_trial(named, 900).recipe.schedule
    assert schedule.decays == config.recipe.schedule.decays
    assert schedule.warmup_steps <= 225  # a trial that only warms up would say nothing


def test_a_recipes_own_jitter_is_that_of_its_trials(tmp_path: Path, shapes: Path) -> None:
    config = TrainConfig(DataConfig(shapes), tmp_path / "tune", RECIPES["modern"], batch_size=8)
    own = config.recipe.augment.scale_jitter
    assert own != AUGMENTED["augment.scale_jitter"]
    assert of_trial(config, 300).recipe.augment.scale_jitter == own
    other = of_trial(config, 300, **{"schedule.lr": 1e-4})
    assert (other.recipe.augment.scale_jitter, other.recipe.schedule.lr) == (own, 1e-4)
    assert of_trial(config, 300, augmentation="flips").recipe.augment.scale_jitter is None


def test_a_reference_batch_cannot_be_named(config: TrainConfig) -> None:
    with pytest.raises(ConfigError, match=r"schedule\.reference_batch cannot be set"):
        find_base(replace(config, named=("schedule.reference_batch",)), CPU)


def test_the_folder_of_a_run_is_no_place_for_a_search(config: TrainConfig, tmp_path: Path) -> None:
    config.output.mkdir()
    (config.output / "log.jsonl").write_text("")
    with pytest.raises(RunError, match="is the folder of a training run"):
        tune(TuneConfig(config), CPU)


def test_a_file_in_the_place_of_the_database(config: TrainConfig) -> None:
    config.output.mkdir()
    (config.output / "tune.db").write_text("my notes" * 1000)
    with pytest.raises(RunError, match=r"tune\.db: cannot be used: .*; give another --output"):
        tune(TuneConfig(config), CPU)
    assert (config.output / "tune.db").read_text() == "my notes" * 1000


def test_without_optuna(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"paa tune: optuna is not installed: pip install 'paa\[tune\]'"):
        tune(TuneConfig(config), CPU)
    assert not config.output.exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"trials": 0}, "--trials"), ({"hours": 0.0}, "--hours"), ({"trial_steps": 0}, "--trial-steps")],
)
def test_invalid_values(config: TrainConfig, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=f"^{says} must be"):
        TuneConfig(config, **changes)


def test_trials_of_auto(
    tmp_path: Path,
    shapes: Path,
    monkeypatch: pytest.MonkeyPatch,
    fake_training: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command's options reach the trials, and trial 0 is what `paa train` decides."""
    runs = fake_training(peak)
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "my shapes"
    data.symlink_to(shapes)
    shown = ["--data", str(data), "--format", "coco", "--no-keep-empty", "--allow-outside", str(shapes)]
    main(["tune", *shown, "--trials", "3", "--device", "cpu", "--workers", "0", "--schedule.lr", "0.001"])
    assert (tmp_path / "runs" / "tune-shapes" / "recipe.json").exists()
    assert all(run.auto and run.recipe.schedule.lr == 0.001 for run in runs)
    first, *others = runs
    assert {name for name in first.named if name.startswith(("model.", "augment.", "schedule."))} == {"schedule.lr"}
    assert all("schedule.weight_decay" in run.named for run in others)
    assert first.recipe.schedule.weight_decay == 0.05
    printed = capsys.readouterr().out
    assert "best: trial-00" in printed
    command = shlex.split(printed.splitlines()[-1])
    assert command == ["paa", "train", "--recipe", "runs/tune-shapes/recipe.json", *shown]
    assert find_recipe(command[3]).init == first.recipe.init


def test_the_command_in_the_end_names_what_a_recipe_cannot(
    tmp_path: Path,
    shapes: Path,
    monkeypatch: pytest.MonkeyPatch,
    fake_training: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake_training(peak)
    monkeypatch.chdir(tmp_path)
    rule = "my rules.py:rule"
    Path("my rules.py").write_text("from paa.assigners import AtssAssigner\nrule = AtssAssigner()\n")
    options = ["--assigner", rule, "--accumulate", "2"]
    main(["tune", "--data", str(shapes), "--trials", "1", "--device", "cpu", "--workers", "0", *options])
    command = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert command[-4:] == options
