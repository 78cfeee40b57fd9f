"""A run is set up completely, and checked, before its folder is written to."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from paa.config import to_dict
from paa.data.read import read_dataset
from paa.errors import ConfigError, DataError, RunError
from paa.training import run_data, setup
from paa.training.records import TrainResult, ignore
from paa.training.schedule import Schedule, make_schedule
from paa.training.settings import TrainConfig
from paa.training.setup import set_up
from paa.training.train import train
from tests.training.runs import CPU, NEVER, Micro, differences, load, read_log


def test_a_run_that_another_process_made_meanwhile(
    tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch, whole: TrainResult
) -> None:
    """While this process, which found no checkpoint to resume, read the data."""
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


def test_shared_memory_for_training_and_validation_is_checked_at_the_start(
    tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed: list[int] = []
    monkeypatch.setattr(run_data, "check_shared_memory", needed.append)
    shared: dict[str, Any] = {"runtime": {"workers": 1}, "schedule": {"steps": 1}}
    for name, validation, process in (
        ("plain", 0, CPU),
        ("validated", 2, CPU),
        ("beside", 2, replace(CPU, on_host=3)),
    ):
        with set_up(micro(tmp_path / name, validation={"batch_size": validation}, **shared), process, ignore, NEVER):
            pass
    plain, validated, beside = needed
    image = 3 * 64 * 96
    assert 2 * image <= plain < plain + 2 * image <= validated
    assert beside == 3 * validated


def test_starts_from_the_weights_of_a_checkpoint(tmp_path: Path, micro: Micro, checkpoint: Path) -> None:
    run = train(micro(tmp_path / "run", init=str(checkpoint), schedule={"lr": 0.0, "weight_decay": 0.0}), CPU)
    assert differences(load(run.last)["model"], load(checkpoint)["model"]) == []


def test_the_recipe_of_a_run_has_the_whole_path_of_its_start(
    tmp_path: Path, micro: Micro, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkpoint.parent)
    for given, expected in ((checkpoint.name, str(checkpoint)), ("mmdet/r50_1x", "mmdet/r50_1x"), (None, None)):
        config = micro(tmp_path, init=given)
        assert setup.as_recipe(config, make_schedule(config.recipe.schedule, 2, 8), "float32").init == expected


def test_no_validation_needs_no_validation_set(tmp_path: Path, shapes: Path, micro: Micro) -> None:
    data = shutil.copytree(shapes, tmp_path / "data")
    (data / "val.json").unlink()
    run = train(micro(tmp_path / "run", data={"path": data}), CPU)
    assert all("AP" not in record for record in read_log(run.log))
    assert run.best is None
    config = micro(tmp_path / "other", data={"path": data}, validation={"batch_size": 2}, named=("data.val_split",))
    with pytest.raises(DataError, match="no COCO annotations for 'val'"):
        train(config, CPU)
    assert not (tmp_path / "other").exists()


def test_a_run_needs_its_own_folder(tmp_path: Path, micro: Micro) -> None:
    (tmp_path / "empty").mkdir()
    train(micro(tmp_path / "empty", schedule={"steps": 1}), CPU)
    with pytest.raises(RunError, match="exists and is not empty; give another --output, or --resume"):
        train(micro(tmp_path / "empty"), CPU)
    (tmp_path / "file").write_text("mine")
    for output in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(RunError, match="is not a writable folder"):
            train(micro(output), CPU)
    assert (tmp_path / "file").read_text() == "mine"


def test_fewer_than_one_step(tmp_path: Path, micro: Micro) -> None:
    with pytest.raises(ConfigError, match="1 steps of 2 images are less than one of 8"):
        train(micro(tmp_path / "run", batch_size=8, schedule={"steps": 1}), CPU)
    assert not (tmp_path / "run").exists()


def test_the_schedule_of_a_run(tmp_path: Path, micro: Micro) -> None:
    """Scaled to its batch size, or to its data set of eight images where it is given in epochs."""

    def schedule(name: str, **options: Any) -> Schedule:
        with set_up(micro(tmp_path / name, **options), CPU, ignore, NEVER) as run:
            assert len(run.loader) == run.state.schedule.steps
            return run.state.schedule

    scaled = schedule("scaled", batch_size=4, schedule={"steps": 6, "decays": (4,), "warmup_steps": 1})
    assert [scaled.lr_at(step) for step in range(scaled.steps)] == pytest.approx([0.004 / 3, 0.004, 0.0004])
    for epochs, steps in ((1.0, 4), (0.5, 2), (0.01, 1)):
        assert schedule(str(epochs), schedule={"steps": 90, "decays": (), "epochs": epochs}).steps == steps


@pytest.mark.parametrize(
    ("steps", "validation", "interval", "validation_interval", "first"),
    [
        (25, {"batch_size": 1}, 100, 3, 3),  # ten validations in a run
        (25, {"batch_size": 1, "interval": 7}, 5, 7, 5),
        (25, {"batch_size": 1, "interval": 50}, 100, 50, 25),
        (25, {"batch_size": 0, "interval": 7}, 100, 7, 25),
    ],
)
def test_when_checkpoints_and_validations_are_due(
    tmp_path: Path,
    micro: Micro,
    steps: int,
    validation: dict[str, int],
    interval: int,
    validation_interval: int,
    first: int,
) -> None:
    options = {"schedule": {"steps": steps}, "runtime": {"checkpoint_interval": interval}, "validation": validation}
    with set_up(micro(tmp_path / "run", **options), CPU, ignore, NEVER) as run:
        assert run.validation_interval == validation_interval
        assert (run.val_index is None) == (validation["batch_size"] == 0)
        assert json.loads(run.folder.config.read_text())["first_checkpoint"] == first
        due = []
        for run.state.step in range(1, steps + 1):
            due += [run.state.step] if run.is_due(10) else []
        assert due == [10, 20, 25]


def test_the_settings_that_a_resumed_run_must_share(tmp_path: Path, micro: Micro) -> None:
    config = micro(tmp_path / "run", runtime={"seed": 7, "precision": "bfloat16"}, init=None)
    with set_up(config, CPU, ignore, NEVER) as run:
        assert run.state.run_config == {
            **to_dict(config.recipe),
            "batch_size": 2,
            "seed": 7,
            "precision": "bfloat16",
            "init": None,
            "val_fraction": 0.15,
            "images of the data set": 8,
            "annotations of the data set": 22,
            "named fields of the schedule": ["warmup_steps"],
            "checksum of the data set": read_dataset(config.data.path, "train").checksum(),
        }


def test_what_is_logged_at_the_start(
    tmp_path: Path, micro: Micro, whole: TrainResult, caplog: pytest.LogCaptureFixture
) -> None:
    """A resumed run says where it resumes, nothing of weights to start from, and warns where its lr jumps."""
    fresh = "no --init: batch norm or stages are frozen at random weights; recipe r18_nano needs none"
    schedule = "schedule: 4 steps of 2 images (1 epochs), learning rate 0.002, a tenth of it from steps 3 on, warm-up 2"
    folder = shutil.copytree(whole.folder, tmp_path / "run")

    def said(config: TrainConfig) -> list[tuple[int, str]]:
        caplog.clear()
        with caplog.at_level(logging.INFO, "paa"), set_up(config, CPU, ignore, NEVER):
            records = [(record.levelno, record.getMessage()) for record in caplog.records]
            return [(level, line) for level, line in records if not line.startswith(("train: ", "val: "))]

    (_, first), (_, second) = said(micro(tmp_path / "new"))
    assert (first, second.startswith(schedule)) == (fresh, True)
    longer = {"steps": 9, "decays": (8,)}
    (_, resumed), (info, line), (warning, jump) = said(micro(folder, resume="last", schedule=longer))
    assert resumed == f"resumed from {folder / 'last.pt'}: 4 of 9 steps are done"
    assert (info, line[:18], warning) == (logging.INFO, "schedule: 9 steps ", logging.WARNING)
    assert jump.startswith("the learning rate jumps from 0.0002 to 0.002 at step 4: ")
    trained = {"model": {"norm": "batch"}, "schedule": {"frozen_stages": 0}}
    idle = said(micro(tmp_path / "trained", **trained, named=("schedule.warmup", "runtime.worker_timeout")))
    assert [line for _, line in idle[1:]] == [
        "runtime.worker_timeout has no effect: there are no loader workers (runtime.workers 0)"
    ]


def test_workers_change_nothing(tmp_path: Path, micro: Micro) -> None:
    runs = [train(micro(tmp_path / str(w), runtime={"workers": w, "seed": 3}), CPU) for w in (0, 2)]
    assert differences(*(load(run.last) for run in runs)) == []
    other = train(micro(tmp_path / "seed", runtime={"seed": 4}), CPU)
    assert differences(load(runs[0].last)["model"], load(other.last)["model"])


def test_classes_start_at_the_recipes_probability(tmp_path: Path, micro: Micro) -> None:
    config = micro(tmp_path, schedule={"prior_probability": 0.2})
    detector, _ = setup.make_detector(config, ("one", "other"), None, None)
    images, sizes = torch.zeros(1, 3, 96, 128, dtype=torch.uint8), torch.tensor([[96, 128]])
    with torch.inference_mode():
        started = detector.eval()(images, sizes).cls_logits.sigmoid()
    assert started.mean().item() == pytest.approx(0.2, rel=0.2)
