"""`paa.train` does what the command `paa train` does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import paa
from paa.commands.main import main
from paa.config import DataConfig, ModelConfig, RuntimeConfig, ValidationConfig
from paa.core import Assignment, HeadOutputs
from paa.data.batch import Batch
from paa.errors import ConfigError, RunError
from paa.recipes import RECIPES
from paa.training import api
from paa.training.records import Record
from paa.training.settings import TrainConfig
from tests.conftest import OPTIONS
from tests.training.runs import differences, load, read_log, timeless


def keywords(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of the command line as keywords of `paa.train`."""
    groups: dict[str, Any] = {"runtime": {}}
    for option, value in options.items():
        group, _, name = option.replace("-", "_").rpartition(".")
        if name in ("workers", "log_interval"):
            group = "runtime"
        many = name in ("decays", "min_sizes") and not isinstance(value, (list, tuple))
        target = groups.setdefault(group, {}) if group else groups
        target[name] = [value] if many else value
    return groups


@pytest.fixture
def config_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that gives the configuration with which `paa.train` would start a run."""

    class SeenError(Exception):
        pass

    def stop(config: TrainConfig, *_: object, **__: object) -> None:
        raise SeenError(config)

    def get(*given: Any, **options: Any) -> TrainConfig:
        with pytest.raises(SeenError) as caught:
            paa.train(*given, **options)
        config: TrainConfig = caught.value.args[0]
        return config

    monkeypatch.setattr(api, "train_run", stop)
    return get


def test_the_configuration_is_that_of_the_command(tmp_path: Path, shapes: Path, options: list[str]) -> None:
    more = {"schedule.steps": 2, "schedule.decays": 1}
    words = [word for name, value in more.items() for word in (f"--{name}", str(value))]
    main(["train", "--data", str(shapes), *options, *words, "--output", str(tmp_path / "command")])
    heard: list[Record] = []
    seen: list[tuple[int, int]] = []

    def look(batch: Batch, outputs: HeadOutputs, assignment: Assignment) -> None:
        assert len(outputs.cls_logits) == len(batch) == len(assignment.anchors)
        seen.append((int((batch.gt_labels >= 0).sum()), int(assignment.num_positives.sum())))

    given = keywords({**OPTIONS, **more})
    result = paa.train(shapes, output=tmp_path / "python", listener=heard.append, on_assignment=look, **given)

    command = tmp_path / "command"
    for name in ("last.pt", "best.pt"):
        assert differences(load(command / name), load(result.folder / name)) == []
    configs = [json.loads((folder / "config.json").read_text()) for folder in (command, result.folder)]
    for config in configs:
        config["named"] = set(config["named"]) - {"recipe"}
        del config["output"], config["environment"]
    assert configs[0] == configs[1]
    assert timeless(read_log(result.log)) == timeless(read_log(command / "log.jsonl"))

    assert (result.folder, result.last, result.best) == (
        tmp_path / "python", tmp_path / "python" / "last.pt", tmp_path / "python" / "best.pt"
    )  # fmt: skip
    assert (result.step, result.stopped) == (2, False)
    assert heard == read_log(result.log)
    assert [result.training, result.validation] == heard[-2:]
    assert [positives for _, positives in seen] == [line["positives"] for line in heard if "positives" in line]
    assert all(positives >= objects > 0 for objects, positives in seen)
    assert paa.load(result.best, "cpu").names == ("circle", "square", "triangle", "star")


def test_defaults_are_the_commands(config_of: Any) -> None:
    config = config_of("some/set", device="cpu")
    assert config == TrainConfig(
        DataConfig(Path("some/set")),
        Path("runs/auto-set"),
        RECIPES["auto"],
        batch_size=8,
        runtime=RuntimeConfig(device="cpu"),
        recipe_name="auto",
        auto=True,
        named=("data.path", "runtime.device"),
    )
    nano = config_of("set", "r18_nano", steps=100, device="cpu", model={"min_size": 320})
    recipe = RECIPES["r18_nano"]
    assert nano.recipe.model == replace(recipe.model, min_size=320)
    assert nano.recipe.schedule == replace(recipe.schedule, steps=100)
    assert (nano.batch_size, nano.output) == (8, Path("runs/r18_nano-set"))
    assert nano.named == ("data.path", "model.min_size", "schedule.steps", "runtime.device")


def test_every_option_can_be_set(config_of: Any) -> None:
    config = config_of(
        {"path": "set", "val_data": "other", "max_pixels": 10**6, "skip_bad": True},
        "modern",
        output="mine",
        batch_size=4,
        epochs=3,
        lr=0.5,
        device="cpu",
        resume="mine/best.pt",
        init=Path("R-50.pkl"),
        init_format="caffe2",
        model={"backbone": "resnet18"},
        augment={"min_sizes": [320, 640]},
        schedule={"clip_norm": 1},
        validation={"interval": 5},
        runtime={"workers": 0, "precision": "auto"},
    )
    assert config.data == DataConfig(Path("set"), val_data=Path("other"), skip_bad=True, max_pixels=10**6)
    assert (config.output, config.batch_size, config.resume) == (Path("mine"), 4, Path("mine/best.pt"))
    assert (config.init, config.init_format) == ("R-50.pkl", "caffe2")
    assert (config.recipe.model.backbone, config.recipe.augment.min_sizes) == ("resnet18", (320, 640))
    schedule = config.recipe.schedule
    assert (schedule.epochs, schedule.lr, schedule.clip_norm) == (3.0, 0.5, 1.0)
    assert config.validation == ValidationConfig(interval=5)
    assert config.runtime == RuntimeConfig(device="cpu", workers=0, precision="auto")
    assert set(config.named) == {
        *("data.path", "data.val_data", "data.max_pixels", "data.skip_bad", "output", "batch_size", "resume", "init"),
        *("init_format", "model.backbone", "augment.min_sizes", "schedule.clip_norm", "schedule.epochs", "schedule.lr"),
        *("validation.interval", "runtime.workers", "runtime.precision", "runtime.device"),
    }
    assert config_of("set", resume="last", device="cpu").resume == "last"


@pytest.mark.parametrize(
    ("given", "options", "says"),
    [
        (("set", "r51"), {}, "unknown recipe 'r51'; known: auto, r50_1x, "),
        (("set",), {"schedule": {"step": 3}}, "unknown option schedule.step; known: schedule.steps, "),
        (("set",), {"validation": 5}, "validation cannot be 5: expected a dictionary of its fields"),
        (("set",), {"model": {"colour": 3}}, "unknown option model.colour; known: model.backbone, "),
        (("set",), {"runtime": {"workers": "2"}}, "runtime.workers cannot be '2': Expected `int`, got `str`"),
        (("set",), {"steps": 3, "schedule": {"steps": 3}}, "schedule.steps is set twice: as steps and in schedule"),
        (("set",), {"device": "cpu", "runtime": {"device": "cpu"}}, "runtime.device is set twice"),
        (({"format": "coco"},), {}, "data.path is missing: "),
        (({"path": "set", "split": "val"},), {}, "unknown option data.split; known: data.path, "),
        (("set", None), {}, "recipe must be a name or a file, got None"),
        (("set",), {"batch_size": "8"}, "batch_size must be a whole number, got '8'"),
        (("set",), {"batch_size": 2.0}, "batch_size must be a whole number, got 2.0"),
        (("set",), {"accumulate": True}, "accumulate must be a whole number, got True"),
        (("set",), {"resume": True}, 'resume must be "last" or a path, got True'),
        (("set",), {"output": 3}, "output must be a path, got 3"),
        (("set",), {"runtime": None}, "runtime cannot be None: expected a dictionary of its fields"),
        (("set",), {"listener": None}, "listener must be a function, got None"),
        (("set",), {"assigner": 5}, "assigner must be a text or a function, got 5"),
    ],
)
def test_what_cannot_be_set(given: tuple[Any, ...], options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        paa.train(*given, **options)
    assert says in str(caught.value)


def test_errors_of_a_run_are_raised(tmp_path: Path, shapes: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(RunError, match="exists and is not empty"):
        paa.train(shapes, output=tmp_path, **keywords(OPTIONS))
    with pytest.raises(paa.PaaError, match="no such file or folder"):
        paa.train(tmp_path / "gone", output=tmp_path / "run", **keywords(OPTIONS))


def test_public_names() -> None:
    assert {"train", "STOP"} <= set(paa.__all__)
    assert paa.train is api.train
    assert paa.config.ModelConfig is ModelConfig  # where the docstring of paa.train says that the fields are
