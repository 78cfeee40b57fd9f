"""What a checkpoint holds: saved, loaded, also from files of earlier versions, and refused where it does not fit."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

import paa
from paa.config import ModelConfig, Recipe, ScheduleConfig, to_dict
from paa.errors import CheckpointError, ConfigError
from paa.model.detector import Detector
from paa.training.average import WeightAverage
from paa.training.optimizer import make_optimizer
from paa.training.records import TrainResult
from paa.training.run_folder import save_checkpoint
from paa.training.schedule import make_schedule
from paa.training.state import TrainingState
from paa.training.train import train
from tests.training.runs import CPU, Micro, differences, load, read_log

Content = dict[str, Any]

MODEL = ModelConfig(backbone="resnet18", channels=8, tower_depth=1)
AVERAGED = Recipe(MODEL, schedule=ScheduleConfig(ema=0.9, optimizer="adamw"))


def make_state(seed: int, recipe: Recipe = AVERAGED) -> TrainingState:
    """Return the state of a run after one step, with weights that depend on the seed."""
    torch.manual_seed(seed)
    detector = Detector(recipe.model, ("cat", "dog"))
    detector.freeze(4)
    average = None if recipe.schedule.ema is None else WeightAverage(detector, recipe.schedule.ema)
    state = TrainingState(
        detector, average, make_optimizer(detector, recipe.schedule), make_schedule(recipe.schedule, 16, 100),
        {**to_dict(recipe), "batch_size": 16, "val_fraction": 0.15, "images of the data set": 100},
    )  # fmt: skip
    for parameter in detector.parameters():
        parameter.grad = torch.rand_like(parameter) if parameter.requires_grad else None
    state.optimizer.step()
    state.step, state.best = 1, 0.25 * seed
    return state


def to_0_1_0(content: Content) -> Content:
    """Return the content of a checkpoint as version 0.1.0 wrote it, whose names were others."""
    old = {
        "min_size": "test_short",
        "max_size": "test_longest",
        "augment": "pictures",
        "lr": "rate",
        "bias_lr_factor": "bias_rate_factor",
        "backbone_lr_factor": "backbone_rate_factor",
        "images of the data set": "pictures of the data set",
        "run_config": "told",
    }
    augment = {"min_sizes": "short_sides", "max_size": "longest"}

    def renamed(values: Any, names: dict[str, str]) -> Any:
        if not isinstance(values, dict):
            return values
        return {
            names.get(name, name): renamed(value, {**old, **augment} if name == "augment" else old)
            for name, value in values.items()
        }

    training = content["training"]
    settings = {name: training[name] for name in ("run_config", "schedule")}
    others = {name: value for name, value in training.items() if name not in settings}
    return {**content, "config": renamed(content["config"], old), "training": {**others, **renamed(settings, old)}}


def without_new_options(content: Content) -> Content:
    """Return the content of a checkpoint as it was written before an option existed."""
    training, run_config = content["training"], content["training"]["run_config"]
    schedule = {name: value for name, value in run_config["schedule"].items() if name != "backbone_lr_factor"}
    old = {**{name: value for name, value in run_config.items() if name != "val_fraction"}, "schedule": schedule}
    return {**content, "training": {**training, "run_config": old}}


def without_later_keys(content: Content) -> Content:
    """Return the content of a checkpoint as the first ones were, which were written after a validation."""
    later = ("validation_due", "schedule")
    return {**content, "training": {n: value for n, value in content["training"].items() if n not in later}}


@pytest.mark.parametrize("change", [None, to_0_1_0, without_new_options, without_later_keys])
def test_a_state_that_is_loaded_is_the_one_that_was_saved(
    tmp_path: Path, change: Callable[[Content], Content] | None
) -> None:
    saved, loaded = make_state(1), make_state(2)
    save_checkpoint(tmp_path / "last.pt", change(saved.state_dict()) if change else saved.state_dict())
    content = load(tmp_path / "last.pt")
    assert ("told" in content["training"]) == (change is to_0_1_0)
    loaded.load_state_dict(content, "last.pt")
    assert differences(loaded.state_dict(), saved.state_dict()) == []
    for name, tensor in loaded.detector.state_dict().items():
        assert torch.equal(tensor, saved.detector.state_dict()[name])
    model = paa.load(tmp_path / "last.pt", "cpu")
    assert (model.config, model.names) == (MODEL, ("cat", "dog"))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_run_goes_on_the_same_in_another_memory_layout(optimizer: Literal["adamw", "sgd"]) -> None:
    recipe = Recipe(MODEL, schedule=ScheduleConfig(optimizer=optimizer))
    saved = make_state(1, recipe)
    content = saved.state_dict()

    def next_step(memory_format: torch.memory_format) -> dict[str, torch.Tensor]:
        state = make_state(2, recipe)
        state.detector.to(memory_format=memory_format)
        state.load_state_dict(deepcopy(content), "last.pt")
        generator = torch.Generator().manual_seed(3)
        for parameter in state.detector.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.empty_like(parameter).copy_(torch.rand(parameter.shape, generator=generator))
        state.optimizer.step()
        return state.detector.state_dict()

    assert differences(next_step(torch.channels_last), next_step(torch.contiguous_format)) == []


def test_a_schedule_is_kept_for_comparison() -> None:
    saved, loaded = make_state(1), make_state(1)
    saved.schedule = replace(saved.schedule, steps=7, decays=(3, 5))
    loaded.load_state_dict(saved.state_dict(), "last.pt")
    assert loaded.schedule == saved.schedule
    assert saved.state_dict()["training"]["schedule"] == asdict(saved.schedule)


def test_without_an_average_the_trained_weights_are_the_model() -> None:
    state = make_state(1, Recipe(MODEL))
    assert state.evaluated is state.detector
    content = state.state_dict()
    assert "weights" not in content["training"]
    assert differences(content["model"], dict(state.detector.state_dict())) == []


def test_a_state_of_another_run() -> None:
    state = make_state(1)
    content = state.state_dict()
    training = content["training"]

    def fails(kind: type[Exception], says: str, **changes: Any) -> None:
        with pytest.raises(kind, match=rf"^last\.pt: .*{says}"):
            state.load_state_dict({**content, **changes}, "last.pt")

    def fails_for(says: str, **run_config: Any) -> None:
        changed = {**training["run_config"], **run_config}
        fails(ConfigError, f"its run had {says}; to resume it", training={**training, "run_config": changed})

    fails(CheckpointError, "no training checkpoint of this project; .*--init", format="other")
    says = r"was trained on classes \['dog', 'cat'\], the data set has \['cat', 'dog'\]"
    fails(ConfigError, says, names=["dog", "cat"])
    fails_for("batch_size 8, not 16", batch_size=8)
    schedule = without_new_options(content)["training"]["run_config"]["schedule"]
    fails_for("schedule.ema None, not 0.9", schedule={**schedule, "ema": None})
    state.run_config["schedule"]["backbone_lr_factor"] = 0.1
    fails_for("schedule.backbone_lr_factor 1.0, not 0.1", schedule=schedule)  # as it was before there was a choice
    state.run_config["schedule"]["backbone_lr_factor"] = 1.0
    optimizer = {**training["optimizer"], "param_groups": training["optimizer"]["param_groups"][:-1]}
    fails(CheckpointError, "another version's optimizer", training={**training, "optimizer": optimizer})
    for name in ("step", "run_config", "optimizer"):  # somebody made the file smaller
        fails(CheckpointError, f"has no training.{name}", training={n: v for n, v in training.items() if n != name})
    fails(CheckpointError, "has no training.step", training=[])
    with pytest.raises(CheckpointError, match=r"^model\.pt: no training checkpoint"):
        state.load_state_dict({name: value for name, value in content.items() if name != "training"}, "model.pt")


def test_what_cannot_be_resumed_leaves_no_folder(tmp_path: Path, micro: Micro, checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.pt: no such file"):
        train(micro(tmp_path / "none", resume=tmp_path / "none" / "gone.pt"), CPU)
    with pytest.raises(CheckpointError, match=r"no training checkpoint of this project.*--init"):
        train(micro(tmp_path / "none", resume=checkpoint), CPU)
    assert not (tmp_path / "none").exists()


def test_a_run_of_version_0_1_0_is_resumed(tmp_path: Path, micro: Micro, whole: TrainResult) -> None:
    """In the middle, so that its optimizer and its learning rate count; it ends as one of today."""
    half = train(micro(tmp_path / "half"), CPU, lambda record: paa.STOP if record["step"] == 2 else None)
    torch.save(to_0_1_0(load(half.last)), half.last)
    resumed = train(micro(half.folder, resume="last"), CPU)
    assert differences(load(resumed.last), load(whole.last)) == []
    assert [record["lr"] for record in read_log(resumed.log)] == [record["lr"] for record in read_log(whole.log)]


def test_differences_are_seen() -> None:
    one = {"a": [torch.zeros(2), 1.0], "b": {"c": torch.ones(2)}}
    assert differences(one, {"a": [torch.zeros(2), 1.0], "b": {"c": torch.ones(2)}}) == []
    assert differences(one, {"a": [torch.tensor([0, 1e-45]), 1.0], "b": {"c": torch.ones(2)}}) == ["/a/0"]
    assert differences(one, {"a": [torch.zeros(2), 1.5], "b": {}}) == ["/a/1", "/b"]
