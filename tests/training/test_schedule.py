"""The seed's learning rates at every step of its recipes; what a person sets is used as it is, defaults are scaled."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise
from typing import Any

import pytest
import torch

from paa.config import ScheduleConfig
from paa.errors import ConfigError
from paa.recipes import RECIPES
from paa.training.schedule import Schedule, fit_decays, for_batch, make_schedule, resume_schedule

SEEDS = {
    "r50_1x": (90_000, 60_000, 80_000),
    "r50_1.5x": (135_000, 90_000, 120_000),
    "r101_2x": (180_000, 120_000, 160_000),
    "r101_dcn_2x": (180_000, 120_000, 160_000),
}


@pytest.mark.parametrize("batch_size", [16, 8, 4, 32])
@pytest.mark.parametrize("name", SEEDS)
def test_the_seeds_learning_rates_at_every_step(name: str, batch_size: int) -> None:
    """Half the batch: twice the steps at half the learning rate. The warm-up is 500 steps at any batch size."""
    schedule = make_schedule(RECIPES[name].schedule, batch_size, 118_287)
    steps, *decays = (number * 16 // batch_size for number in SEEDS[name])
    assert schedule.steps == steps
    full = 0.01 * batch_size / 16
    lrs = torch.tensor([schedule.lr_at(step) for step in range(steps)], dtype=torch.float64)
    expected = torch.full((steps,), full, dtype=torch.float64)
    expected[:500] = full / 3
    expected[decays[0] :] = full / 10
    expected[decays[1] :] = full / 100
    torch.testing.assert_close(lrs, expected, rtol=1e-12, atol=0)


def test_epochs_keep_the_shares() -> None:
    config = ScheduleConfig(steps=90_000, decays=(60_000, 80_000), warmup_steps=500, epochs=12)
    schedule = make_schedule(config, 16, 118_287)
    assert schedule.steps == round(12 * 118_287 / 16)
    assert schedule.decays == pytest.approx((schedule.steps * 2 / 3, schedule.steps * 8 / 9), abs=1)
    assert schedule.warmup_steps == 500
    assert schedule.lr == 0.01
    # another batch size: the same number of images
    half = make_schedule(config, 8, 118_287)
    assert abs(half.steps - 2 * schedule.steps) <= 1
    assert half.lr == 0.005
    # a run longer than the recipe's does not warm up longer
    assert make_schedule(dataclasses.replace(config, epochs=36), 16, 118_287).warmup_steps == 500


@pytest.mark.parametrize(("epochs", "images", "steps"), [(1, 1, 1), (0.001, 5, 1), (2, 100, 12), (3, 7, 1)])
def test_few_images(epochs: float, images: int, steps: int) -> None:
    schedule = make_schedule(ScheduleConfig(epochs=epochs), 16, images)
    assert schedule.steps == steps
    lrs = [schedule.lr_at(step) for step in range(steps)]
    assert all(0 < lr <= 0.01 for lr in lrs)


def test_linear_warm_up_and_cosine() -> None:
    schedule = Schedule(100, (), 2.0, 10, 0.1, "linear", "cosine")
    lrs = [schedule.lr_at(step) for step in range(101)]
    assert lrs[0] == pytest.approx(0.2)
    assert lrs[5] == pytest.approx((0.1 + 0.9 * 0.5) * (1 + math.cos(0.05 * math.pi)))
    assert lrs[50] == pytest.approx(1.0)
    assert lrs[100] == pytest.approx(0.0, abs=1e-12)
    assert schedule.lr_at(1000) == pytest.approx(0.0, abs=1e-12)
    assert all(a > b for a, b in pairwise(lrs[10:]))
    assert all(a < b for a, b in pairwise(lrs[:10]))


SMALL_SET = 163  # images, with 10 a batch 183 or 184 steps of 12 epochs (the set on which the warm-up was lost)


def named(**fields: Any) -> tuple[ScheduleConfig, tuple[str, ...]]:
    return dataclasses.replace(RECIPES["r50_1x"].schedule, **fields), tuple(fields)


def test_a_warm_up_that_is_set_is_used() -> None:
    """`--schedule.epochs 12 --schedule.warmup-steps 100` is the run that `--schedule.steps 183` was."""
    config, names = named(epochs=12, warmup_steps=100)
    schedule = make_schedule(config, 16, SMALL_SET, names)
    assert (schedule.steps, schedule.warmup_steps) == (122, 100)
    for warmup in (0, 1, 5000):
        config, names = named(epochs=12, warmup_steps=warmup)
        assert make_schedule(config, 16, SMALL_SET, names).warmup_steps == warmup


@pytest.mark.parametrize(
    ("fields", "warmup"), [({"epochs": 12}, 30), ({"steps": 183}, 45), ({"steps": 2}, 1), ({}, 500)]
)
def test_a_default_warm_up_fits_the_run_and_has_a_step(fields: dict[str, Any], warmup: int) -> None:
    config, names = named(**fields)
    assert make_schedule(config, 16, SMALL_SET, names).warmup_steps == warmup


@pytest.mark.parametrize("batch_size", [2, 16, 64])
def test_steps_learning_rate_and_decays_that_are_set_are_used_at_any_batch_size(batch_size: int) -> None:
    config, names = named(steps=183, lr=5e-4, decays=(100, 150))
    schedule = make_schedule(config, batch_size, SMALL_SET, names)
    assert (schedule.steps, schedule.lr, schedule.decays) == (183, 5e-4, (100, 150))
    config, names = named(lr=5e-4)
    schedule = make_schedule(config, batch_size, SMALL_SET, names)
    assert (schedule.steps, schedule.lr) == (90_000 * 16 // batch_size, 5e-4)
    config, names = named(steps=80, lr=0.01, reference_batch=8)  # as written for 8
    schedule = make_schedule(for_batch(config, batch_size, names), batch_size, SMALL_SET, names)
    assert (schedule.steps, schedule.lr) == (pytest.approx(640 / batch_size), pytest.approx(0.01 * batch_size / 8))


@pytest.mark.parametrize("batch_size", [2, 16, 64])
def test_decays_for_another_batch_are_scaled_for_that_alone(batch_size: int) -> None:
    """And not by the length of a run in epochs too."""
    config, names = named(epochs=12, decays=(400, 800), reference_batch=8)
    schedule = make_schedule(for_batch(config, batch_size, names), batch_size, SMALL_SET, names)
    assert schedule.decays == (400 * 8 // batch_size, 800 * 8 // batch_size)


def test_decays_keep_their_share_of_a_run_whose_steps_are_set() -> None:
    recipe = RECIPES["r50_1x"].schedule
    config, names = named(steps=900)
    assert fit_decays(config, recipe, names).decays == (600, 800)
    config, names = named(steps=900, decays=(10,))
    assert fit_decays(config, recipe, names).decays == (10,)
    config, names = named(epochs=3)
    assert fit_decays(config, recipe, names) == config


@pytest.mark.parametrize("batch_size", [4, 8, 16, 64])
def test_decays_keep_their_share_of_steps_that_are_set_at_any_batch_size(batch_size: int) -> None:
    recipe = RECIPES["r50_1x"].schedule
    config, names = named(steps=900)
    schedule = make_schedule(fit_decays(config, recipe, names), batch_size, SMALL_SET, names)
    assert (schedule.steps, schedule.decays) == (900, (600, 800))


def test_fields_that_contradict_each_other() -> None:
    config, names = named(steps=10, epochs=2)
    with pytest.raises(ConfigError, match=r"schedule\.steps and schedule\.epochs contradict each other"):
        make_schedule(config, 16, SMALL_SET, names)
    config, names = named(shape="cosine", decays=(5,))
    with pytest.raises(ConfigError, match=r"schedule\.decays and schedule\.shape cosine contradict"):
        make_schedule(config, 16, SMALL_SET, names)
    assert make_schedule(dataclasses.replace(config, decays=()), 16, SMALL_SET, names).shape == "cosine"


def test_steps_that_are_set_come_before_the_epochs_of_a_recipe() -> None:
    """Such as those of the run that is resumed."""
    recipe = dataclasses.replace(RECIPES["r50_1x"].schedule, epochs=2.0, steps=10)
    assert make_schedule(recipe, 16, SMALL_SET, ["steps"]).steps == 10
    assert make_schedule(recipe, 16, SMALL_SET).steps != 10


def test_the_line_for_people() -> None:
    nano = make_schedule(RECIPES["r18_nano"].schedule, 8, 160)
    assert nano.line(8, 160) == (
        "schedule: 1200 steps of 8 images (60 epochs), learning rate 0.001, falling to 0 on a cosine, "
        "warm-up 100 steps, rising from 1e-05"
    )
    seed = make_schedule(RECIPES["r50_1x"].schedule, 16, 118_287).line(16, 118_287)
    assert "a tenth of it from steps 60000, 80000 on, warm-up 500 steps, constant at 0.00333" in seed
    assert "constant, no warm-up" in Schedule(10, (), 0.1, 0, 0.1, "linear", "step").line(1, 10)


def test_a_run_is_not_resumed_with_fewer_steps_than_it_had() -> None:
    schedule = Schedule(20, (), 0.01, 5, 0.1, "linear", "cosine")
    assert resume_schedule(schedule, schedule, 20) == (schedule, None)
    with pytest.raises(ConfigError, match="has trained 21 steps already, and would be resumed with a schedule of 20"):
        resume_schedule(schedule, schedule, 21)


def test_a_learning_rate_that_jumps_is_reported() -> None:
    short = Schedule(20, (), 0.01, 5, 0.1, "linear", "cosine")
    longer = dataclasses.replace(short, steps=26, warmup_steps=6)
    schedule, jump = resume_schedule(longer, short, 20)
    assert schedule == dataclasses.replace(longer, warmup_steps=5)
    assert jump == (
        f"the learning rate jumps from {short.lr_at(20):.3g} to {schedule.lr_at(20):.3g} at step 20: "
        "the run had a schedule of 20 steps, and is resumed with one of 26"
    )
    assert resume_schedule(longer, short, 20, ("warmup_steps",))[0] == longer
    assert resume_schedule(short, short, 12) == (short, None)
    assert resume_schedule(longer, longer, 12) == (longer, None)
    steps = Schedule(20, (15,), 0.01, 5, 0.1, "linear", "step")
    assert resume_schedule(dataclasses.replace(steps, steps=30), steps, 16)[1] is None
