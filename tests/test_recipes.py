"""The seed's four recipes, as the table of the references' recipes gives them."""

from __future__ import annotations

import dataclasses
import json

import pytest

from paa.config import CAFFE_MEAN, ModelConfig, model_config, to_dict
from paa.errors import ConfigError
from paa.recipes import RECIPES

SEEDS = {
    "r50_1x": ("resnet50", (800,), 90_000, (60_000, 80_000), (), False),
    "r50_1.5x": ("resnet50", (800,), 135_000, (90_000, 120_000), (), False),
    "r101_2x": ("resnet101", (640, 800), 180_000, (120_000, 160_000), (), False),
    "r101_dcn_2x": ("resnet101", (640, 800), 180_000, (120_000, 160_000), (3, 4, 5), True),
}


def test_which_there_are() -> None:
    assert set(RECIPES) == {*SEEDS, "r18_nano"}


@pytest.mark.parametrize("name", SEEDS)
def test_what_differs_between_the_seeds_recipes(name: str) -> None:
    recipe = RECIPES[name]
    found = (
        recipe.model.backbone,
        recipe.pictures.short_sides,
        recipe.schedule.steps,
        recipe.schedule.decays,
        recipe.model.dcn_stages,
        recipe.model.tower_dcn,
    )
    assert found == SEEDS[name]


@pytest.mark.parametrize("name", SEEDS)
def test_what_all_of_the_seeds_recipes_share(name: str) -> None:
    model, pictures, schedule = RECIPES[name].model, RECIPES[name].pictures, RECIPES[name].schedule
    assert (schedule.optimizer, schedule.rate, schedule.reference_batch) == ("sgd", 0.01, 16)
    assert (schedule.weight_decay, schedule.bias_rate_factor) == (1e-4, 2.0)
    assert (schedule.warmup_steps, schedule.warmup_factor, schedule.warmup) == (500, 1 / 3, "constant")
    assert (schedule.shape, schedule.frozen_stages, schedule.clip_norm, schedule.epochs) == ("step", 2, None, None)
    assert (pictures.longest, pictures.hflip, pictures.scale_jitter, pictures.color_jitter) == (1333, 0.5, None, 0.0)
    assert (model.norm, model.norm_eps, model.stride_in_1x1, model.bgr, model.legacy) == ("frozen", 0, True, True, True)
    assert model.mean == CAFFE_MEAN == (122.7717, 115.9465, 102.9801)
    assert (model.std, model.anchor_offset, model.p7_relu) == ((1.0, 1.0, 1.0), 0.5, True)
    assert (model.channels, model.tower_depth, model.threshold_joint) == (256, 4, False)
    assert (model.test_short, model.test_longest) == (800, 1333)


def test_the_small_one_is_trained_from_scratch() -> None:
    nano = RECIPES["r18_nano"]
    assert nano.model.norm == "batch"
    assert nano.schedule.frozen_stages == 0
    assert not nano.model.legacy


@pytest.mark.parametrize("name", RECIPES)
def test_a_configuration_goes_through_json(name: str) -> None:
    recipe = RECIPES[name]
    plain = json.loads(json.dumps(to_dict(recipe)))
    assert set(plain) == {"model", "pictures", "schedule"}
    assert model_config(plain["model"]) == recipe.model
    assert plain["schedule"]["decays"] == list(recipe.schedule.decays)


def test_recipes_are_frozen_and_fields_known() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RECIPES["r50_1x"].schedule.rate = 1.0  # type: ignore[misc]
    assert model_config({}) == ModelConfig()
    with pytest.raises(ConfigError, match="unknown fields: colour, depth"):
        model_config({"depth": 3, "channels": 64, "colour": "red"})


@pytest.mark.parametrize("field", [{"channels": "many"}, {"mean": [1.0]}, {"bgr": "yes"}, {"dcn_stages": 3}])
def test_a_misshapen_field_is_named(field: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(field))):
        model_config(field)
