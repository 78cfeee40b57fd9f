"""What a person sets becomes the configuration of a run; errors name what cannot be set."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paa.config import (
    AugmentConfig,
    DataConfig,
    ModelConfig,
    Recipe,
    RuntimeConfig,
    ScheduleConfig,
    ValidationConfig,
    to_dict,
)
from paa.errors import ConfigError
from paa.recipes import RECIPES, find_recipe
from paa.training.options import build_config, changed, config_of_values
from paa.training.schedule import make_schedule
from paa.training.settings import TrainConfig


def build(recipe: str = "r50_1x", data: str = "set", **options: Any) -> TrainConfig:
    return build_config(recipe, RECIPES[recipe], DataConfig(Path(data)), ValidationConfig(), RuntimeConfig(), **options)


@pytest.mark.parametrize(
    ("recipe", "data", "options", "output"),
    [
        ("r50_1x", "some/set", {}, "runs/r50_1x-set"),
        ("r18_nano", "some/train.json", {}, "runs/r18_nano-train"),
        ("r50_1x", "set", {"output": Path("mine")}, "mine"),
        ("r50_1x", "set", {"resume": "last"}, "runs/r50_1x-set"),
        ("r50_1x", "set", {"resume": Path("runs/x/best.pt")}, "runs/x"),
        ("r50_1x", "set", {"resume": Path("runs/x/best.pt"), "output": Path("mine")}, "mine"),
    ],
)
def test_the_folder_of_a_run(recipe: str, data: str, options: dict[str, Any], output: str) -> None:
    assert build(recipe, data, **options).output == Path(output)


def test_the_batch_size_is_the_recipes() -> None:
    assert [build(name).batch_size for name in ("r50_1x", "x152_32x8d_dcn_2x", "r18_nano")] == [16, 8, 8]
    assert build(batch_size=4).batch_size == 4


def test_decays_fit_the_steps_that_are_set() -> None:
    recipe = RECIPES["r50_1x"]
    shorter = replace(recipe, schedule=replace(recipe.schedule, steps=900))
    parts: Any = (DataConfig(Path("set")), ValidationConfig(), RuntimeConfig())
    config = build_config("r50_1x", shorter, *parts, named=["schedule.steps"])
    assert config.recipe.schedule.decays == (600, 800)
    config = build_config("r50_1x", shorter, *parts, named=["schedule.steps", "schedule.decays"])
    assert config.recipe.schedule.decays == (60_000, 80_000)


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    """Return the file of a recipe, with the name of a recipe that is another one."""
    file = tmp_path / "auto.json"
    file.write_text(json.dumps(to_dict(Recipe(schedule=ScheduleConfig(steps=900, decays=(), warmup_steps=300)))))
    return file


def of_file(file: Path, *named: str, **schedule: Any) -> TrainConfig:
    recipe = find_recipe(str(file))
    recipe = replace(recipe, schedule=replace(recipe.schedule, **schedule))
    parts: Any = (DataConfig(Path("set")), ValidationConfig(), RuntimeConfig())
    return build_config(str(file), recipe, *parts, named=named)


def test_nothing_is_decided_in_a_recipe_file_whatever_its_name(recipe_file: Path) -> None:
    config = of_file(recipe_file)
    assert (config.auto, config.output) == (False, Path("runs/auto-set"))
    assert build("auto").auto


def test_the_warm_up_of_a_recipe_file_is_for_a_run_of_its_length(recipe_file: Path) -> None:
    for config, warmup in (
        (of_file(recipe_file), 300),
        (of_file(recipe_file, "schedule.lr", lr=0.1), 300),
        (of_file(recipe_file, "schedule.steps", steps=40), 10),
        (of_file(recipe_file, "schedule.epochs", epochs=10), 10),
        (of_file(recipe_file, "schedule.steps", "schedule.warmup_steps", steps=40, warmup_steps=30), 30),
    ):
        schedule = make_schedule(config.recipe.schedule, config.batch_size, 64, config.named_in("schedule"))
        assert schedule.warmup_steps == warmup


def test_changed_fields() -> None:
    schedule = changed(ScheduleConfig(), {"decays": [5, 8], "lr": 1, "ema": None, "warmup": "linear"}, "schedule.")
    assert schedule == ScheduleConfig(decays=(5, 8), lr=1.0, warmup="linear")
    assert changed(AugmentConfig(), {"scale_jitter": (0.5, 2)}, "augment.").scale_jitter == (0.5, 2.0)
    data = changed(DataConfig(Path()), {"path": "set", "val_data": Path("val"), "format": "voc"}, "data.")
    assert data == DataConfig(Path("set"), "voc", val_data=Path("val"))
    nested = changed(RECIPES["r50_1x"], {"model": {"channels": 64}}, "")
    assert nested == replace(RECIPES["r50_1x"], model=replace(RECIPES["r50_1x"].model, channels=64))
    assert changed(ModelConfig(), {}, "model.") == ModelConfig()


@pytest.mark.parametrize(
    ("config", "values", "says"),
    [
        (ScheduleConfig(), {"step": 3}, "unknown option schedule.step; known: schedule.steps, schedule.epochs, "),
        (ScheduleConfig(), {"steps": "3"}, "schedule.steps cannot be '3': Expected `int`, got `str`"),
        (ScheduleConfig(), {"steps": 3.0}, "schedule.steps cannot be 3.0: Expected `int`, got `float`"),
        (ScheduleConfig(), {"steps": True}, "schedule.steps cannot be True: "),
        (ScheduleConfig(), {"decays": 5}, "schedule.decays cannot be 5: "),
        (ScheduleConfig(), {"warmup": "none"}, "schedule.warmup cannot be 'none': "),
        (DataConfig(Path()), {"path": 3}, "schedule.path cannot be 3: "),
        (RECIPES["r50_1x"], {"model": {"colour": 3}}, "unknown option schedule.model.colour; known: "),
    ],
)
def test_what_cannot_be_changed(config: Any, values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        changed(config, values, "schedule.")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("named", "lr", "steps"), [((), 0.01, 90_000), (("lr",), 5e-5, 90_000), (("steps",), 0.01, 500)]
)
def test_a_reference_batch_is_that_of_the_named_values_alone(named: tuple[str, ...], lr: float, steps: int) -> None:
    """At batch 16: a rate of 0.3125 for a batch of 100,000, and 1000 steps of 8; the recipe's own are for 16."""
    values = {
        "reference_batch": 8 if "steps" in named else 100_000,
        **{name: {"lr": 0.3125, "steps": 1_000}[name] for name in named},
    }
    recipe = replace(RECIPES["r50_1x"], schedule=replace(RECIPES["r50_1x"].schedule, **values))
    config = build_config(
        "r50_1x",
        recipe,
        DataConfig(Path("set")),
        ValidationConfig(),
        RuntimeConfig(),
        named=[f"schedule.{name}" for name in values],
    )
    schedule = make_schedule(config.recipe.schedule, config.batch_size, 1000, config.named_in("schedule"))
    assert (schedule.lr, schedule.steps) == (pytest.approx(lr), steps)
    assert schedule.decays == pytest.approx((steps * 2 / 3, steps * 8 / 9), abs=1)


@pytest.mark.parametrize(
    ("given", "warmup"), [({"epochs": 2}, 31), ({"steps": 40}, 10), ({"steps": 40, "warmup_steps": 30}, 30)]
)
def test_a_recipe_file_has_no_longer_warmup_than_it_says(tmp_path: Path, given: dict[str, Any], warmup: int) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"schedule": given}))
    config = config_of_values(str(file), {})
    schedule = make_schedule(config.recipe.schedule, config.batch_size, 1000, config.named_in("schedule"))
    assert schedule.warmup_steps == warmup


def test_numbers_of_numpy_are_numbers() -> None:
    values = {"schedule": {"steps": np.int64(3), "lr": np.float32(0.5)}}
    schedule = config_of_values("r50_1x", values).recipe.schedule
    assert (schedule.steps, schedule.lr) == (3, 0.5)
