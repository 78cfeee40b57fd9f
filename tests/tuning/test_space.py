"""The space of a search is around the recipe, and has nothing that a person named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paa.config import AugmentConfig, Recipe
from paa.recipes import RECIPES
from paa.training.auto import with_fields
from paa.tuning.space import fields_of, make_space, strength

AUTO = replace(RECIPES["auto"], init="efficientnet_lite0")
ALL = {
    "schedule.lr",
    "schedule.weight_decay",
    "schedule.backbone_lr_factor",
    "augmentation",
    "model.min_size",
    "model.anchor_scale",
}


def test_the_recipe_as_it_is_is_in_the_space() -> None:
    space = make_space(AUTO, 5e-4, (), (256, 320), own_anchors=False)
    assert {parameter.name for parameter in space} == ALL
    for parameter in space:
        assert parameter.holds(parameter.base), parameter
        assert not parameter.holds(1e9), parameter
    by_name = {parameter.name: parameter for parameter in space}
    assert by_name["model.min_size"].choices == (256, 320)
    assert by_name["model.anchor_scale"].choices == (6.0, 8.0)
    assert by_name["schedule.lr"].holds(1e-3)
    assert (by_name["augmentation"].base, len(by_name["augmentation"].choices)) == ("flips", 3)


@pytest.mark.parametrize(
    ("named", "lacks"),
    [
        (("schedule.lr", "model.min_size"), {"schedule.lr", "model.min_size"}),
        (("augment.mosaic",), {"augmentation"}),
        (("augment.min_sizes",), {"model.min_size"}),
        (("data.path", "trials"), set()),
    ],
)
def test_what_is_named_stays(named: tuple[str, ...], lacks: set[str]) -> None:
    space = make_space(AUTO, 5e-4, named, (256, 320), own_anchors=False)
    assert {parameter.name for parameter in space} == ALL - lacks


def test_what_cannot_be_chosen_is_left_out() -> None:
    scratch = replace(AUTO, init=None, schedule=replace(AUTO.schedule, weight_decay=0.0))
    space = make_space(scratch, 5e-4, (), (256,), own_anchors=True)
    assert {parameter.name for parameter in space} == {"schedule.lr", "augmentation"}


def test_unusual_values_of_a_recipe_are_kept() -> None:
    model = replace(AUTO.model, anchor_scale=5.0, min_size=300)
    schedule = replace(AUTO.schedule, backbone_lr_factor=0.05)
    space = make_space(replace(AUTO, model=model, schedule=schedule), 0.1, (), (256, 320), own_anchors=False)
    by_name = {parameter.name: parameter for parameter in space}
    assert by_name["model.anchor_scale"].choices == (4.0, 5.0, 6.0)
    assert by_name["model.min_size"].choices == (256, 300, 320)
    assert by_name["schedule.backbone_lr_factor"].low == 0.05


@pytest.mark.parametrize("name", ["flips", "jitter", "mosaics"])
def test_fields_of_an_augmentation(name: str) -> None:
    recipe = with_fields(
        Recipe(augment=AugmentConfig(mosaic=0.3)), fields_of({"augmentation": name, "schedule.lr": 1.0})
    )
    assert strength(recipe.augment) == name
    assert recipe.schedule.lr == 1.0
