"""The seed's learning rates at every step of its recipes, and which parameter learns how fast."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import pytest
import torch

from paa.config import ModelConfig, ScheduleConfig
from paa.engine.optimizer import Schedule, make_optimizer, make_schedule, set_rate
from paa.model.detector import Detector
from paa.recipes import RECIPES

SEEDS = {
    "r50_1x": (90_000, 60_000, 80_000),
    "r50_1.5x": (135_000, 90_000, 120_000),
    "r101_2x": (180_000, 120_000, 160_000),
    "r101_dcn_2x": (180_000, 120_000, 160_000),
}
SMALL = ModelConfig(backbone="resnet18", channels=32, tower_depth=1)


def build(**options: object) -> Detector:
    return Detector(dataclasses.replace(SMALL, **options), ("cat", "dog"))


@pytest.mark.parametrize("batch_size", [16, 8, 4, 32])
@pytest.mark.parametrize("name", SEEDS)
def test_the_seeds_rates_at_every_step(name: str, batch_size: int) -> None:
    """Half the batch: twice the steps at half the rate. The warm-up is 500 steps whatever the batch."""
    schedule = make_schedule(RECIPES[name].schedule, batch_size, 118_287)
    steps, *decays = (number * 16 // batch_size for number in SEEDS[name])
    assert schedule.steps == steps
    full = 0.01 * batch_size / 16
    rates = torch.tensor([schedule.rate_at(step) for step in range(steps)], dtype=torch.float64)
    expected = torch.full((steps,), full, dtype=torch.float64)
    expected[:500] = full / 3
    expected[decays[0] :] = full / 10
    expected[decays[1] :] = full / 100
    torch.testing.assert_close(rates, expected, rtol=1e-12, atol=0)


def test_epochs_keep_the_shares() -> None:
    config = ScheduleConfig(steps=90_000, decays=(60_000, 80_000), warmup_steps=500, epochs=12)
    schedule = make_schedule(config, 16, 118_287)
    assert schedule.steps == round(12 * 118_287 / 16)
    assert schedule.decays == pytest.approx((schedule.steps * 2 / 3, schedule.steps * 8 / 9), abs=1)
    assert schedule.warmup_steps == round(500 * schedule.steps / 90_000)
    assert schedule.rate == 0.01
    # another batch size: the same number of pictures
    half = make_schedule(config, 8, 118_287)
    assert abs(half.steps - 2 * schedule.steps) <= 1
    assert half.rate == 0.005
    # a run longer than the recipe's does not warm up longer
    assert make_schedule(dataclasses.replace(config, epochs=36), 16, 118_287).warmup_steps == 500


@pytest.mark.parametrize(("epochs", "pictures", "steps"), [(1, 1, 1), (0.001, 5, 1), (2, 100, 12), (3, 7, 1)])
def test_few_pictures(epochs: float, pictures: int, steps: int) -> None:
    schedule = make_schedule(ScheduleConfig(epochs=epochs), 16, pictures)
    assert schedule.steps == steps
    rates = [schedule.rate_at(step) for step in range(steps)]
    assert all(0 < rate <= 0.01 for rate in rates)


def test_linear_warm_up_and_cosine() -> None:
    schedule = Schedule(100, (), 2.0, 10, 0.1, "linear", "cosine")
    rates = [schedule.rate_at(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[5] == pytest.approx((0.1 + 0.9 * 0.5) * (1 + math.cos(0.05 * math.pi)))
    assert rates[50] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(0.0, abs=1e-12)
    assert schedule.rate_at(1000) == pytest.approx(0.0, abs=1e-12)
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert all(a < b for a, b in pairwise(rates[:10]))


def test_no_warm_up() -> None:
    schedule = Schedule(10, (5,), 1.0, 0, 1 / 3, "constant", "step")
    assert [schedule.rate_at(step) for step in (0, 4, 5, 9)] == pytest.approx([1.0, 1.0, 0.1, 0.1])


@pytest.mark.parametrize("norm", ["frozen", "affine", "batch"])
def test_groups(norm: str) -> None:
    """Biases: twice the rate and no decay; trained batch norm: no decay; all else: the rate and decay."""
    detector = build(norm=norm)
    optimizer = make_optimizer(detector, ScheduleConfig())
    assert type(optimizer) is torch.optim.SGD
    by_id = {
        id(parameter): (group["weight_decay"], group["factor"], group["momentum"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    expected, batch_norms = {}, 0
    for name, parameter in detector.named_parameters():
        if name.startswith("backbone") and (".bn" in name or ".downsample.1." in name):
            expected[id(parameter)] = (0.0, 1.0, 0.9)
            batch_norms += 1
        elif name.endswith(".bias"):
            expected[id(parameter)] = (0.0, 2.0, 0.9)
        else:
            expected[id(parameter)] = (1e-4, 1.0, 0.9)
    assert by_id == expected
    assert batch_norms == (0 if norm == "frozen" else 40)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(expected)  # none twice


def test_the_rate_is_set_by_group() -> None:
    optimizer = make_optimizer(build(norm="batch"), ScheduleConfig())
    set_rate(optimizer, 0.25)
    assert [(group["factor"], group["lr"]) for group in optimizer.param_groups] == [
        (1.0, 0.25),
        (1.0, 0.25),
        (2.0, 0.5),
    ]


def test_one_step_of_sgd() -> None:
    detector = build()
    optimizer = make_optimizer(detector, ScheduleConfig())
    set_rate(optimizer, 0.1)
    weight, bias = detector.fpn.p6.weight, detector.fpn.p6.bias
    before = weight.detach().clone(), bias.detach().clone()
    weight.grad, bias.grad = torch.ones_like(weight), torch.ones_like(bias)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), before[0] - 0.1 * (1 + 1e-4 * before[0]))
    torch.testing.assert_close(bias.detach(), before[1] - 0.2)


def told_apart(detector: Detector, config: ScheduleConfig) -> dict[str, tuple[float, float]]:
    """Return the decay and the factor of every parameter by name."""
    names = {id(parameter): name for name, parameter in detector.named_parameters()}
    return {
        names[id(parameter)]: (group["weight_decay"], group["factor"])
        for group in make_optimizer(detector, config).param_groups
        for parameter in group["params"]
    }


@pytest.mark.parametrize("backbone", ["resnet18", "timm/convnext_atto"])
def test_adamw(backbone: str) -> None:
    """No vector has decay, whatever its layer: norms of every kind, layer scales, the head's scales."""
    detector = build(backbone=backbone, norm="batch")
    schedule = RECIPES["r18_nano"].schedule
    assert type(make_optimizer(detector, schedule)) is torch.optim.AdamW
    assert told_apart(detector, schedule) == {
        name: (0.0 if parameter.ndim < 2 else 0.05, 1.0) for name, parameter in detector.named_parameters()
    }
    # with SGD they have, as in maskrcnn-benchmark
    sgd = told_apart(detector, ScheduleConfig())
    vectors = [name for name, p in detector.named_parameters() if p.ndim < 2 and "bias" not in name]
    assert {name for name in vectors if ".bn" not in name and ".downsample.1." not in name} == {
        name for name in vectors if sgd[name] == (1e-4, 1.0)
    }


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_backbone_may_learn_more_slowly(optimizer: str) -> None:
    config = dataclasses.replace(ScheduleConfig(), optimizer=optimizer)
    detector = build(norm="affine")
    alike = told_apart(detector, config)
    slower = told_apart(detector, dataclasses.replace(config, backbone_rate_factor=0.1))
    assert set(slower) == {name for name, _ in detector.named_parameters()}
    for name, (decay, factor) in alike.items():
        assert slower[name] == (decay, factor * (0.1 if name.startswith("backbone.") else 1.0))


@pytest.mark.parametrize("stages", range(6))
def test_frozen_stages_are_not_trained(stages: int) -> None:
    detector = build(norm="batch")
    detector.freeze(stages)
    frozen = ("backbone.conv1.", "backbone.bn1.") if stages else ()
    frozen += tuple(f"backbone.layer{k}." for k in range(1, stages))
    trained = {id(p) for group in make_optimizer(detector, ScheduleConfig()).param_groups for p in group["params"]}
    for name, parameter in detector.named_parameters():
        assert parameter.requires_grad != name.startswith(frozen or ("nothing",)), name
        assert (id(parameter) in trained) == parameter.requires_grad


def test_frozen_stages_do_not_change_at_all() -> None:
    """Neither do the statistics of their batch norm, where that is trained."""
    detector = build(norm="batch")
    detector.train().freeze(2)
    before = {name: value.clone() for name, value in detector.backbone.layer1.state_dict().items()}
    detector(torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8), torch.tensor([[64, 64], [64, 64]]))
    assert all(torch.equal(value, before[name]) for name, value in detector.backbone.layer1.state_dict().items())
