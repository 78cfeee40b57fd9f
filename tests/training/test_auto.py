"""What the recipe auto decides, and that nothing a person named is changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

import paa
from paa.assigners import AtssAssigner
from paa.config import DataConfig, RuntimeConfig, ValidationConfig
from paa.core import PaaAssigner
from paa.data.read import read_dataset
from paa.data.transforms import Resize
from paa.errors import CheckpointError, ConfigError
from paa.recipes import RECIPES, find_recipe
from paa.training import auto
from paa.training.auto import (
    CPU,
    CPU_WITH_BFLOAT16,
    GPU,
    DataFacts,
    budget_of,
    choose_anchor_scale,
    choose_first_level,
    choose_size,
    choose_steps,
    decide,
    decided_model,
    facts_of,
    level_of_file,
)
from paa.training.init import resolve_init
from paa.training.options import build_config
from paa.training.schedule import make_schedule
from paa.training.settings import TrainConfig
from tests.training.runs import differences, load

FACTS = DataFacts(images=200, objects=900, classes=3, min_side=480, small_object=0.1)
LITE = "efficientnet_lite0"


def config(*named: str, **options: Any) -> TrainConfig:
    recipe = options.pop("recipe", RECIPES["auto"])
    return build_config(
        "auto", recipe, DataConfig(Path("set")), ValidationConfig(), RuntimeConfig(), named=named, **options
    )


def test_facts_of_a_data_set(shapes: Path) -> None:
    index = read_dataset(shapes, "train")
    facts = facts_of(index)
    sides = np.sqrt((index.boxes[:, 2:] - index.boxes[:, :2]).prod(1))
    short = np.repeat(index.sizes.min(1), np.diff(index.offsets))
    assert (facts.images, facts.objects, facts.classes) == (len(index), len(index.boxes), len(index.names))
    assert np.mean(sides / short < facts.small_object) == pytest.approx(0.05, abs=0.05)
    assert facts.min_side == np.median(index.sizes.min(1))


@pytest.mark.parametrize("budget", [CPU, CPU_WITH_BFLOAT16, GPU])
def test_small_objects_get_larger_images_but_none_is_enlarged(budget: Any) -> None:
    many = replace(FACTS, images=10_000, min_side=4000)
    sizes = [choose_size(replace(many, small_object=small), budget) for small in (0.5, 0.08, 0.01)]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (budget.sizes[0], budget.sizes[-1])
    for side in (100, 200, budget.sizes[0], budget.sizes[0] + 1):
        chosen = choose_size(replace(FACTS, small_object=0.001, min_side=side), budget)
        assert chosen == max(160, min(side, budget.sizes[0]))


@pytest.mark.parametrize("budget", [CPU, CPU_WITH_BFLOAT16, GPU])
def test_a_small_data_set_gets_larger_images_in_place_of_many_epochs(budget: Any) -> None:
    facts = replace(FACTS, small_object=0.5, min_side=4000)
    for images in (10, 100, 150, 200, 1000, 10_000):
        some = replace(facts, images=images)
        size = choose_size(some, budget)
        epochs = choose_steps(some, size, 8, budget) * 8 / images
        assert size == budget.sizes[0] or budget.pixels / budget.sizes[0] ** 2 / images > 50
        _, lines = decide(config(), some, budget, LITE)
        assert any("leave time" in line for line in lines) == (size > budget.sizes[0])
        assert epochs < 50 or size == budget.sizes[-1] or budget.pixels / size**2 / images == pytest.approx(50)


def test_anchors_are_the_papers_unless_small_objects_would_hardly_overlap_them() -> None:
    for side, scale in ((4, 2), (14, 4), (22, 6), (29, 8), (200, 8)):
        assert choose_anchor_scale(replace(FACTS, small_object=side / 256), 256) == scale
        if 2 < scale < 8:
            assert (side / (8 * scale)) ** 2 == pytest.approx(0.2, abs=0.02)


def test_the_pyramid_begins_at_p2_where_no_size_makes_small_objects_large_enough() -> None:
    """Its smallest anchor has at most 16 pixels, and at most the side that P3's would have."""
    levels = {}
    for small in (0.5, 0.1, 0.05, 0.02):
        facts = replace(FACTS, images=10_000, small_object=small)
        size = choose_size(facts, CPU)
        levels[small] = choose_first_level(facts, size)
        side = choose_anchor_scale(facts, size, levels[small]) * 2 ** levels[small]
        assert (levels[small] == 2) == (size * small < 20)
        assert side <= choose_anchor_scale(facts, size) * 8
        assert side <= 16 or levels[small] == 3
        decided, lines = decide(config(), facts, CPU, LITE)
        model = decided.recipe.model
        assert (model.first_level, model.anchor_scale * model.strides[0]) == (levels[small], side)
        assert any("P2" in line for line in lines) == (levels[small] == 2)
    assert levels == {0.5: 3, 0.1: 3, 0.05: 2, 0.02: 2}

    recipe = replace(RECIPES["auto"], model=replace(RECIPES["auto"].model, first_level=3))
    decided, lines = decide(config("model.first_level", recipe=recipe), facts, CPU, LITE)
    assert (decided.recipe.model.first_level, decided.recipe.model.anchor_scale) == (3, choose_anchor_scale(facts, 320))
    assert not any("P2" in line for line in lines)


@pytest.mark.parametrize("named", [(), ("model.min_size",)])
def test_the_size_and_anchors_are_known_before_a_run(shapes: Path, named: tuple[str, ...]) -> None:
    index, cpu = read_dataset(shapes, "train"), torch.device("cpu")
    recipe = replace(RECIPES["auto"], model=replace(RECIPES["auto"].model, min_size=96)) if named else RECIPES["auto"]
    resolved, _ = decide(config(*named, recipe=recipe), facts_of(index), budget_of(cpu, None), None)
    model = decided_model(index, cpu, 96 if named else None)
    fields = ("min_size", "max_size", "first_level", "anchor_scale")
    assert [getattr(model, name) for name in fields] == [getattr(resolved.recipe.model, name) for name in fields]


def test_tiles_are_suggested_for_tiny_objects() -> None:
    for small, suggested in ((0.01, True), (0.1, False)):
        facts = replace(FACTS, small_object=small, min_side=4000)
        _, lines = decide(config(), facts, CPU, at_hand=LITE)
        assert any("--tiles" in line for line in lines) == suggested


def test_long_runs_change_their_images_more_unless_that_is_named() -> None:
    def changes(*named: str, images: int = 200, **schedule: Any) -> tuple[Any, float, float]:
        recipe = replace(RECIPES["auto"], schedule=replace(RECIPES["auto"].schedule, **schedule))
        decided, _ = decide(config(*named, recipe=recipe), replace(FACTS, images=images), CPU, at_hand=LITE)
        augment = decided.recipe.augment
        return augment.scale_jitter, augment.color_jitter, augment.mosaic

    long, short = ((0.7, 1.4), 0.2, 0.5), (None, 0.0, 0.0)
    assert changes() == long  # 55 epochs
    assert changes(images=5000) == short  # 12 epochs
    assert changes("schedule.epochs", epochs=12) == short
    assert changes("schedule.steps", steps=75) == short  # 3 epochs
    assert changes("schedule.steps", steps=1000, images=200) == long
    assert changes("augment.scale_jitter", "augment.color_jitter", "augment.mosaic") == short
    assert changes("augment.mosaic") == ((0.7, 1.4), 0.2, 0.0)


def test_a_run_is_as_long_as_the_budget_within_bounds() -> None:
    for images in (10, 200, 2000, 118_000):
        steps = choose_steps(replace(FACTS, images=images), 256, 8, CPU)
        epochs = steps * 8 / images
        assert 11.5 <= epochs <= 51
        if 13 < epochs < 49:
            assert steps * 8 * 256**2 == pytest.approx(CPU.pixels, rel=0.01)
            with_p2 = choose_steps(replace(FACTS, images=images), 256, 8, CPU, first_level=2)
            assert with_p2 < steps  # each takes longer
    assert choose_steps(replace(FACTS, images=1), 256, 8, CPU) >= 1


def test_with_weights_at_hand_it_starts_from_them() -> None:
    decided, lines = decide(config(), FACTS, CPU, LITE)
    assert decided.init == decided.recipe.init == LITE
    assert decided.recipe.model.norm == "affine"
    assert decided.recipe.schedule.backbone_lr_factor == 1.0
    assert any(LITE in line for line in lines)
    assert all(line.startswith("auto: ") for line in lines)


def test_a_detector_keeps_its_anchors_and_its_backbone_learns_slowly() -> None:
    facts = replace(FACTS, small_object=0.02)
    for start, level, scale, factor, prior in (("mmdet/r50_2x", 3, 8, 0.1, 0.01), (LITE, 2, 4, 1.0, 0.1)):
        decided, lines = decide(config(), facts, GPU, start)
        assert (decided.recipe.model.first_level, decided.recipe.model.anchor_scale) == (level, scale)
        assert decided.recipe.schedule.backbone_lr_factor == factor
        assert decided.recipe.schedule.prior_probability == prior
        assert any("anchors" in line for line in lines) == (start == LITE)


def test_a_detector_in_a_file_keeps_its_level(checkpoint: Path) -> None:
    assert level_of_file(config("init", init=str(checkpoint))) == 3
    assert level_of_file(config()) is None
    assert level_of_file(config("init", init=LITE)) is None
    facts = replace(FACTS, small_object=0.02)
    own, _ = decide(config("init", init=str(checkpoint)), facts, GPU, LITE, own_level=3)
    hosted, _ = decide(config("init", init="mmdet/r50_2x"), facts, GPU, LITE)
    assert own.recipe.model.first_level == 3
    assert own.recipe.schedule == hosted.recipe.schedule


def test_without_weights_it_trains_from_scratch_and_says_what_helps() -> None:
    decided, lines = decide(config(), FACTS, CPU, None)
    assert decided.init is None
    assert (decided.recipe.model.backbone, decided.recipe.model.norm) == ("resnet18", "batch")
    assert decided.recipe.model.tower_depth == 1
    assert any("pip install 'paa[pretrained]'" in line for line in lines)


def test_what_is_named_is_kept_and_decisions_follow() -> None:
    model = replace(RECIPES["auto"].model, min_size=192)
    schedule = replace(RECIPES["auto"].schedule, lr=0.02, steps=77)
    recipe = replace(RECIPES["auto"], model=model, schedule=schedule)
    named = ("model.min_size", "schedule.lr", "schedule.steps", "batch_size")
    decided, _ = decide(config(*named, recipe=recipe, batch_size=3), FACTS, CPU, None)
    assert decided.recipe.augment.min_sizes == (192,)
    assert (decided.recipe.model.min_size, decided.recipe.schedule.lr) == (192, 0.02)
    assert (decided.recipe.schedule.steps, decided.batch_size) == (77, 3)

    model = replace(RECIPES["auto"].model, backbone="resnet34")
    decided, lines = decide(config("model.backbone", recipe=replace(RECIPES["auto"], model=model)), FACTS, CPU, LITE)
    assert (decided.init, decided.recipe.model.backbone, decided.recipe.model.norm) == (None, "resnet34", "batch")

    assert any("resnet34 from random weights, as named" in line for line in lines)

    decided, _ = decide(config("init"), FACTS, CPU, LITE)  # --init None
    assert (decided.init, decided.recipe.model.backbone) == (None, "resnet18")

    decided, _ = decide(config("init", init="torchvision/resnet18"), FACTS, CPU, LITE)
    assert decided.init == "torchvision/resnet18"


def test_bfloat16_where_the_cpu_has_instructions_for_it() -> None:
    for budget, precision in ((CPU, "float32"), (CPU_WITH_BFLOAT16, "bfloat16"), (GPU, "auto")):
        decided, lines = decide(config(), FACTS, budget, LITE)
        assert decided.runtime.precision == precision
        assert any("bfloat16" in line for line in lines) == (precision == "bfloat16")
        decided, _ = decide(config("runtime.precision"), FACTS, budget, LITE)
        assert decided.runtime.precision == "float32"


def test_a_run_in_float32_is_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "has_bfloat16", lambda device: True)
    device = torch.device("cpu")
    assert [budget_of(device, named) for named in (None, "auto", "bfloat16")] == [CPU_WITH_BFLOAT16] * 3
    assert budget_of(device, "float32") == CPU
    assert CPU.pixels < CPU_WITH_BFLOAT16.pixels


@pytest.mark.parametrize("has", [False, True])
def test_the_precision_is_kept_by_the_recipe_and_by_a_resumed_run(
    has: bool, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto, "has_bfloat16", lambda device: has)
    precision = "bfloat16" if has else "float32"
    small: dict[str, Any] = {
        "model": {"channels": 8, "tower_depth": 1, "min_size": 64},
        "validation": {"batch_size": 0},
        "runtime": {"workers": 0},
    }
    run = paa.train(shapes, steps=1, output=tmp_path / "run", **small)
    assert find_recipe(str(tmp_path / "run" / "recipe.json")).precision == precision
    monkeypatch.setattr(auto, "has_bfloat16", lambda device: not has)
    rest = {name: small[name] for name in ("validation", "runtime")}
    paa.train(shapes, steps=2, output=tmp_path / "run", resume="last", **rest)
    assert load(run.last)["training"]["run_config"]["precision"] == precision


def test_a_file_that_is_named_decides_the_backbone(shapes: Path, tmp_path: Path) -> None:
    """Though the recipe's own backbone is timm's, whose files do not say which model they are of."""
    file = tmp_path / "resnet18.pth"
    torch.save(torchvision.models.resnet18().state_dict(), file)
    given = TrainConfig(DataConfig(shapes), tmp_path / "run", RECIPES["auto"], auto=True, init=str(file))
    resolved, _, _ = resolve_init(replace(given, named=("init",)), None)
    assert resolved.recipe.model.backbone == "resnet18"
    with pytest.raises(CheckpointError, match="no weights of timm/tf_efficientnet_lite0"):
        resolve_init(replace(given, named=("init", "model.backbone")), None)


def test_a_run_starts_again_from_its_recipe_and_is_resumed_without_options(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short: dict[str, Any] = {
        "model": {"channels": 8, "tower_depth": 1, "min_size": 64},
        "validation": {"limit": 2},
        "runtime": {"workers": 0},
    }
    first = paa.train(shapes, steps=3, output=tmp_path / "first", assigner="atss", **short)
    recipe = find_recipe(str(tmp_path / "first" / "recipe.json"))
    assert (recipe.init, recipe.schedule.steps, recipe.model.min_size, recipe.assigner) == (LITE, 3, 64, "atss")

    rest = {name: short[name] for name in ("validation", "runtime")}
    again = paa.train(shapes, str(tmp_path / "first" / "recipe.json"), output=tmp_path / "again", **rest)
    assert not differences(load(first.last)["model"], load(again.last)["model"])

    calls, by_atss = [], AtssAssigner.__call__
    monkeypatch.setattr(AtssAssigner, "__call__", lambda *given: calls.append(given) or by_atss(*given))
    resumed = paa.train(shapes, steps=4, output=tmp_path / "first", resume="last", **rest)
    assert resumed.step == 4
    assert len(calls) == 1
    assert paa.load(resumed.last).config == recipe.model


def test_a_rule_that_is_code_is_named_again_to_resume(shapes: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "model": {"channels": 8, "tower_depth": 1, "min_size": 64},
        "validation": {"batch_size": 0},
        "runtime": {"workers": 0},
    }
    paa.train(shapes, steps=1, output=tmp_path / "run", assigner=OwnRule(), **options)
    rest = {name: options[name] for name in ("validation", "runtime")}
    with pytest.raises(ConfigError, match=r"OwnRule, is code that would be run: if you trust it, name it yourself"):
        paa.train(shapes, steps=2, output=tmp_path / "run", resume="last", **rest)
    resumed = paa.train(shapes, steps=2, output=tmp_path / "run", resume="last", assigner=OwnRule(), **rest)
    assert resumed.step == 2


class OwnRule(PaaAssigner):
    """A rule that is not in `paa.assigners`."""


def test_what_is_said_of_objects_holds_for_long_images_too(shapes: Path) -> None:
    """Their long side is capped, so that they are resized to less than the image size."""
    index = read_dataset(shapes, "train")
    panorama = replace(
        index,
        sizes=np.full_like(index.sizes, (128, 1024)),
        boxes=np.tile(np.float32([[10, 10, 30, 30]]), (len(index.boxes), 1)),
    )
    decided, lines = decide(config(), facts_of(panorama), CPU, LITE)
    model = decided.recipe.model
    height, _ = Resize(model.min_size, model.max_size).size_of(128, 1024)
    assert f"smaller than {20 * height / 128:.0f} pixels there" in next(line for line in lines if "image size" in line)
    assert model.first_level == 2
    assert any("--tiles" in line for line in lines)


def test_values_for_another_batch_are_scaled_and_decisions_are_not() -> None:
    """`auto` decides for the batch of the run; only what a person named is for the batch that they named."""
    for reference, named, batch in ((16, (), 8), (16, ("steps",), 8), (4, ("steps", "lr"), 16), (16, ("lr",), None)):
        values = {"reference_batch": reference, **{name: {"steps": 600, "lr": 0.01}[name] for name in named}}
        recipe = replace(RECIPES["auto"], schedule=replace(RECIPES["auto"].schedule, **values))
        fields = [f"schedule.{name}" for name in values] + (["batch_size"] if batch else [])
        decided, lines = decide(config(*fields, recipe=recipe, batch_size=batch), FACTS, CPU, LITE)
        schedule = make_schedule(
            decided.recipe.schedule, decided.batch_size, FACTS.images, decided.named_in("schedule")
        )
        scale = reference / decided.batch_size
        assert schedule.lr == pytest.approx(0.01 / scale if "lr" in named else 5e-4)
        if "steps" in named:
            assert schedule.steps == 600 * scale
        else:
            assert any(line.startswith(f"auto: {schedule.steps} steps") for line in lines)


@pytest.mark.parametrize("part", ["model", "augment"])
def test_the_caps_on_the_long_side_follow_each_other(part: str) -> None:
    recipe = replace(RECIPES["auto"], **{part: replace(getattr(RECIPES["auto"], part), max_size=1000)})
    decided, _ = decide(config(f"{part}.max_size", recipe=recipe), FACTS, CPU, LITE)
    assert (decided.recipe.model.max_size, decided.recipe.augment.max_size) == (1000, 1000)


def test_it_says_only_what_it_changes_in_images() -> None:
    for named, said in (
        ((), "jitter of scale, jitter of colours, mosaics"),
        (("augment.mosaic",), "jitter of colours,"),
    ):
        _, lines = decide(config(*named), FACTS, CPU, LITE)
        assert any(said in line for line in lines)
        assert any("mosaics" in line for line in lines) == (not named)


def test_a_run_of_another_recipe_is_resumed_as_it_was_without_its_name(shapes: Path, tmp_path: Path) -> None:
    """What was named at its start is used as it is then, and the rest scaled."""
    micro: dict[str, Any] = {
        "model": {"channels": 8, "tower_depth": 1, "min_size": 64},
        "augment": {"min_sizes": (64,)},
        "validation": {"batch_size": 0},
        "runtime": {"workers": 0},
    }
    first = paa.train(
        shapes, "r18_nano", steps=1, batch_size=2, lr=0.003, output=tmp_path / "run", schedule={"decays": ()}, **micro
    )
    before = load(first.last)["training"]["schedule"]
    rest = {name: micro[name] for name in ("validation", "runtime")}
    resumed = paa.train(shapes, output=tmp_path / "run", resume="last", **rest)
    assert load(resumed.last)["training"]["schedule"] == before
    assert (resumed.step, before["lr"]) == (1, 0.003)
    longer = paa.train(shapes, output=tmp_path / "run", resume="last", steps=2, **rest)
    assert longer.step == 2
    assert load(longer.last)["training"]["schedule"] == {**before, "steps": 2}
