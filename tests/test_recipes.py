"""The recipes: those of the references as their tables give them, and this project's own."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import paa
from paa.commands.main import main
from paa.config import CAFFE_MEAN, IMAGENET_MEAN, IMAGENET_STD, ModelConfig, model_config, to_dict
from paa.data.shapes import NAMES
from paa.errors import ConfigError
from paa.model.deformable import DeformableConv
from paa.model.detector import Detector
from paa.recipes import RECIPES, find_recipe
from paa.runtime.distributed import Process
from paa.training.optimizer import make_optimizer
from paa.training.schedule import make_schedule
from paa.training.settings import TrainConfig, check_settings
from paa.training.train import train

COCO = 117_266
"""Images with objects in COCO's training set."""

ONE, TWO = (800,), (640, 800)
OFFICIAL = {
    "r50_1x": ("resnet50", ONE, 90_000, (60_000, 80_000), (), False),
    "r50_1.5x": ("resnet50", ONE, 135_000, (90_000, 120_000), (), False),
    "r101_2x": ("resnet101", TWO, 180_000, (120_000, 160_000), (), False),
    "r101_dcn_2x": ("resnet101", TWO, 180_000, (120_000, 160_000), (3, 4, 5), True),
    "x101_64x4d_2x": ("resnext101_64x4d", TWO, 180_000, (120_000, 160_000), (), False),
    "x101_64x4d_dcn_2x": ("resnext101_64x4d", TWO, 180_000, (120_000, 160_000), (4, 5), True),
    "x101_32x8d_dcn_2x": ("resnext101_32x8d", TWO, 180_000, (120_000, 160_000), (4, 5), True),
    "x152_32x8d_dcn_2x": ("resnext152_32x8d", (640, 864), 360_000, (240_000, 320_000), (3, 4, 5), True),
}
"""Backbone, short sides, steps, decays, deformable stages and towers."""

MMDET = {
    "mmdet_r50_1x": ("resnet50", ONE, 12, (8, 11)),
    "mmdet_r50_1.5x": ("resnet50", ONE, 18, (12, 16)),
    "mmdet_r50_2x": ("resnet50", ONE, 24, (16, 22)),
    "mmdet_r50_mstrain_3x": ("resnet50", TWO, 36, (28, 34)),
    "mmdet_r101_1x": ("resnet101", ONE, 12, (8, 11)),
    "mmdet_r101_2x": ("resnet101", ONE, 24, (16, 22)),
    "mmdet_r101_mstrain_3x": ("resnet101", TWO, 36, (28, 34)),
}
"""Backbone, short sides, epochs and the epochs after which the learning rate decays."""

EPOCHS = {**{name: about[2] for name, about in MMDET.items()}}
for _name, (_, _, _steps, _, _, _) in OFFICIAL.items():
    EPOCHS[_name] = _steps * (8 if _name.startswith("x152") else 16) / COCO


def test_which_there_are() -> None:
    assert set(RECIPES) == {*OFFICIAL, *MMDET, "auto", "modern", "r18_nano"}


@pytest.mark.parametrize("name", OFFICIAL)
def test_what_differs_between_the_official_recipes(name: str) -> None:
    recipe = RECIPES[name]
    found = (
        recipe.model.backbone,
        recipe.augment.min_sizes,
        recipe.schedule.steps,
        recipe.schedule.decays,
        recipe.model.dcn_stages,
        recipe.model.tower_dcn,
    )
    assert found == OFFICIAL[name]
    largest = name == "x152_32x8d_dcn_2x"
    assert recipe.model.stride_in_1x1 == name.startswith("r")
    assert (recipe.schedule.lr, recipe.schedule.reference_batch) == ((0.005, 8) if largest else (0.01, 16))
    assert (recipe.model.min_size, recipe.model.max_size) == ((864, 1440) if largest else (800, 1333))
    assert recipe.augment.max_size == recipe.model.max_size


@pytest.mark.parametrize("name", OFFICIAL)
def test_what_all_of_the_official_recipes_share(name: str) -> None:
    model, augment, schedule = RECIPES[name].model, RECIPES[name].augment, RECIPES[name].schedule
    assert (schedule.optimizer, schedule.lr / schedule.reference_batch) == ("sgd", 0.01 / 16)
    assert (schedule.weight_decay, schedule.bias_lr_factor, schedule.backbone_lr_factor) == (1e-4, 2.0, 1.0)
    assert (schedule.warmup_steps, schedule.warmup_factor, schedule.warmup) == (500, 1 / 3, "constant")
    assert (schedule.shape, schedule.frozen_stages, schedule.clip_norm, schedule.epochs) == ("step", 2, None, None)
    assert schedule.ema is None
    assert (augment.hflip, augment.scale_jitter, augment.color_jitter) == (0.5, None, 0.0)
    assert (model.norm, model.norm_eps, model.bgr, model.legacy) == ("frozen", 0, True, True)
    assert model.mean == CAFFE_MEAN == (122.7717, 115.9465, 102.9801)
    assert (model.std, model.anchor_offset, model.p7_relu) == ((1.0, 1.0, 1.0), 0.5, True)
    assert (model.channels, model.tower_depth, model.threshold_joint) == (256, 4, False)


@pytest.mark.parametrize("name", MMDET)
def test_mmdetections_recipes(name: str) -> None:
    backbone, sides, epochs, decays = MMDET[name]
    model, augment, schedule = RECIPES[name].model, RECIPES[name].augment, RECIPES[name].schedule
    assert (model.backbone, model.norm, model.norm_eps) == (backbone, "affine", 1e-5)
    assert (model.stride_in_1x1, model.dcn_stages, model.tower_dcn) == (False, (), False)
    assert (model.mean, model.std, model.bgr) == (IMAGENET_MEAN, IMAGENET_STD, False)
    assert IMAGENET_MEAN == (123.675, 116.28, 103.53)
    assert IMAGENET_STD == (58.395, 57.12, 57.375)
    assert (model.p7_relu, model.anchor_offset, model.legacy, model.threshold_joint) == (False, 0.0, False, True)
    assert (model.channels, model.tower_depth, model.min_size, model.max_size) == (256, 4, 800, 1333)
    assert (augment.min_sizes, augment.max_size, augment.hflip) == (sides, 1333, 0.5)
    assert (augment.scale_jitter, augment.color_jitter) == (None, 0.0)
    assert (schedule.epochs, schedule.optimizer, schedule.weight_decay) == (None, "sgd", 1e-4)
    assert (schedule.bias_lr_factor, schedule.backbone_lr_factor, schedule.frozen_stages) == (1.0, 1.0, 2)
    assert (schedule.clip_norm, schedule.ema, schedule.shape) == (None, None, "step")
    made = make_schedule(schedule, 16, COCO)
    assert made.warmup_steps == 500
    for step, share in ((0, 0.001), (250, 0.5005), (500, 1.0)):
        assert made.lr_at(step) == pytest.approx(0.01 * share)
    for epoch in range(1, epochs):
        lr = made.lr_at(round((epoch + 0.5) * COCO / 16))
        assert lr == pytest.approx(0.01 * 0.1 ** sum(epoch >= decay for decay in decays))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_makes_a_detector_and_a_schedule(name: str) -> None:
    recipe = RECIPES[name]
    with torch.device("meta"):
        detector = Detector(recipe.model, tuple(f"class {label}" for label in range(80)))
    detector.freeze(recipe.schedule.frozen_stages)
    assert detector.head.cls_logits.weight.shape == (80, recipe.model.channels, 3, 3)
    deformable = {n for n, module in detector.named_modules() if isinstance(module, DeformableConv)}
    assert {int(n.split(".")[1][-1]) + 1 for n in deformable if n.startswith("backbone.")} == set(
        recipe.model.dcn_stages
    )
    assert len([n for n in deformable if n.startswith("head.")]) == (2 if recipe.model.tower_dcn else 0)
    norms = {m.eps for n, m in detector.backbone.named_modules() if hasattr(m, "running_var")}
    if not recipe.model.backbone.startswith("timm/"):  # they have an epsilon of their own
        assert norms == {recipe.model.norm_eps}

    for batch in (recipe.schedule.reference_batch, 2, 64):
        schedule = make_schedule(recipe.schedule, batch, COCO)
        lr = recipe.schedule.lr * batch / recipe.schedule.reference_batch
        assert schedule.lr == pytest.approx(lr)
        if schedule.shape == "step":
            assert schedule.lr_at(schedule.warmup_steps) == pytest.approx(lr)
        assert 0 < schedule.lr_at(schedule.steps - 1) <= 0.0101 * lr
        assert all(schedule.warmup_steps < decay < schedule.steps for decay in schedule.decays)
        if name in EPOCHS:
            assert schedule.steps * batch / COCO == pytest.approx(EPOCHS[name], rel=1e-3)
        if name in MMDET:
            epochs = [decay * batch / COCO for decay in schedule.decays]
            assert epochs == pytest.approx(MMDET[name][3], rel=1e-3)
        if name in OFFICIAL:
            assert [decay / schedule.steps for decay in schedule.decays] == pytest.approx([2 / 3, 8 / 9], rel=1e-3)
    config = TrainConfig(paa.config.DataConfig(Path("data")), Path("run"), recipe, recipe.schedule.reference_batch)
    check_settings(config, 1)


def small(name: str, backbone: str) -> paa.config.Recipe:
    """A recipe whose run is as small as `micro`'s."""
    recipe = RECIPES[name]
    model = replace(recipe.model, backbone=backbone, channels=16, tower_depth=1, min_size=64, max_size=96)
    augment = replace(recipe.augment, min_sizes=(64,), max_size=96)
    return paa.config.Recipe(model, augment, replace(recipe.schedule, steps=2, reference_batch=2, warmup_steps=1))


@pytest.mark.parametrize("backbone", ["resnet18", "timm/convnext_atto"])
def test_modern_trains_any_backbone(tmp_path: Path, micro: Callable[..., TrainConfig], backbone: str) -> None:
    recipe = small("modern", backbone)
    assert (recipe.schedule.optimizer, recipe.schedule.shape, recipe.schedule.decays) == ("adamw", "cosine", ())
    records: list[dict[str, Any]] = []
    run = train(micro(tmp_path / "run", recipe=recipe), Process(torch.device("cpu")), records.append)
    assert [record["step"] for record in records] == [1, 2]
    assert all(torch.tensor([record["loss"], record["gradient_norm"]]).isfinite().all() for record in records)
    assert [record["lr"] for record in records] == pytest.approx([0.01 * 5e-4, 0.5 * 5e-4])

    torch.manual_seed(0)
    detector = Detector(recipe.model, NAMES)
    before, content = detector.state_dict(), torch.load(run.last, weights_only=True)
    after, average = content["training"]["weights"], content["model"]
    matrices = [n for n, p in detector.named_parameters() if p.ndim > 1]
    assert [n for n in matrices if torch.equal(after[n], before[n]) or torch.equal(after[n], average[n])] == []
    assert all(torch.equal(tensor, before[n]) for n, tensor in after.items() if "running_" in n)
    assert paa.load(run.last, "cpu").config == recipe.model

    optimizer = make_optimizer(detector, recipe.schedule)
    factors = {id(p): group["factor"] for group in optimizer.param_groups for p in group["params"]}
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in detector.named_parameters():
        assert factors[id(parameter)] == (0.1 if name.startswith("backbone.") else 1.0)
        assert decays[id(parameter)] == (0.05 if parameter.ndim > 1 else 0.0)


def test_the_small_one_is_trained_from_scratch() -> None:
    nano = RECIPES["r18_nano"]
    assert nano.model.norm == "batch"
    assert nano.schedule.frozen_stages == 0
    assert not nano.model.legacy


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("x152_32x8d_dcn_2x", ("resnext152_32x8d", "360000", "1440")),
        ("mmdet_r50_1.5x", ("resnet50", "131940", "affine")),
    ],
)
def test_help_shows_the_recipes_values(name: str, says: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["train", "--recipe", name, "--help-all"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert all(value in printed for value in says)


@pytest.mark.parametrize("name", RECIPES)
def test_a_configuration_goes_through_json_and_files(name: str, tmp_path: Path) -> None:
    recipe = RECIPES[name]
    plain = json.loads(json.dumps(to_dict(recipe)))
    assert set(plain) == {"model", "augment", "schedule", "init", "precision", "assigner", "teacher"}
    assert model_config(plain["model"]) == recipe.model
    assert plain["schedule"]["decays"] == list(recipe.schedule.decays)
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(plain))
    assert find_recipe(str(file)) == recipe


def test_a_recipe_file_that_is_none_is_one_line(tmp_path: Path) -> None:
    for text, says in (
        ("{", "not a recipe"),
        ('{"model": {"channels": "many"}}', "model.channels"),
        ('{"precision": "int8"}', "precision"),
        ('{"schedule": {"rate": 1}, "modle": {}}', r"unknown fields: modle, schedule.rate"),
        ('{"recipe": {"model": {"channels": 64}}, "batch_size": 8}', "unknown fields: recipe, batch_size"),
        ('{"augment": {"tiles": {"size": 3}}}', r"recipe.json: .*tiles.size must be at least 32"),
    ):
        file = tmp_path / "recipe.json"
        file.write_text(text)
        with pytest.raises(ConfigError, match=says):
            find_recipe(str(file))
    file.write_bytes('{"precision": "gro\u00df"}'.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"recipe\.json: not a recipe .*utf-8"):
        find_recipe(str(file))
    with pytest.raises(ConfigError, match="no such recipe file"):
        find_recipe(str(tmp_path / "missing.json"))


def test_recipes_are_frozen_and_fields_known() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RECIPES["r50_1x"].schedule.lr = 1.0  # type: ignore[misc]
    assert model_config({}) == ModelConfig()
    with pytest.raises(ConfigError, match="unknown fields: colour, depth"):
        model_config({"depth": 3, "channels": 64, "colour": "red"})


@pytest.mark.parametrize(
    "field",
    [
        *({"channels": "many"}, {"channels": 10**9}, {"tower_depth": 10**6}, {"tower_depth": True}),
        *({"mean": [1.0]}, {"mean": 3}, {"std": None}, {"bgr": "yes"}, {"dcn_stages": 3}, {"norm": "layer"}),
    ],
)
def test_a_misshapen_field_is_named(field: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(field))):
        model_config(field)


@pytest.mark.parametrize(
    "field",
    [
        {"min_size": -5},
        {"min_size": 40_000},
        {"max_size": 0},
        {"norm_eps": -1.0},
        {"std": [0.0, 1.0, 1.0]},
        {"mean": [float("nan"), 0.0, 0.0]},
        {"mean": ["a", 0.0, 0.0]},
        {"anchor_offset": float("inf")},
    ],
)
def test_a_field_out_of_range_is_named(field: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(field))):
        model_config(field)
