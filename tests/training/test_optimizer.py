"""The learning rate and the decay of each parameter."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from paa.config import ModelConfig, ScheduleConfig
from paa.model.detector import Detector
from paa.recipes import RECIPES
from paa.training.optimizer import make_optimizer, set_lr
from paa.training.schedule import Schedule

SMALL = ModelConfig(backbone="resnet18", channels=32, tower_depth=1)


def build(**options: object) -> Detector:
    return Detector(dataclasses.replace(SMALL, **options), ("cat", "dog"))


def test_no_warm_up() -> None:
    schedule = Schedule(10, (5,), 1.0, 0, 1 / 3, "constant", "step")
    assert [schedule.lr_at(step) for step in (0, 4, 5, 9)] == pytest.approx([1.0, 1.0, 0.1, 0.1])


@pytest.mark.parametrize("norm", ["frozen", "affine", "batch"])
def test_groups(norm: str) -> None:
    """Biases: twice the learning rate and no decay; trained batch norm: no decay; the rest: learning rate and decay."""
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


def test_the_learning_rate_is_set_by_group() -> None:
    optimizer = make_optimizer(build(norm="batch"), ScheduleConfig())
    set_lr(optimizer, 0.25)
    assert [(group["factor"], group["lr"]) for group in optimizer.param_groups] == [
        (1.0, 0.25),
        (1.0, 0.25),
        (2.0, 0.5),
    ]


def test_one_step_of_sgd() -> None:
    detector = build()
    optimizer = make_optimizer(detector, ScheduleConfig())
    set_lr(optimizer, 0.1)
    weight, bias = detector.fpn.p6.weight, detector.fpn.p6.bias
    before = weight.detach().clone(), bias.detach().clone()
    weight.grad, bias.grad = torch.ones_like(weight), torch.ones_like(bias)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), before[0] - 0.1 * (1 + 1e-4 * before[0]))
    torch.testing.assert_close(bias.detach(), before[1] - 0.2)


def groups_of(detector: Detector, config: ScheduleConfig) -> dict[str, tuple[float, float]]:
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
    assert groups_of(detector, schedule) == {
        name: (0.0 if parameter.ndim < 2 else 0.05, 1.0) for name, parameter in detector.named_parameters()
    }
    # with SGD they have, as in maskrcnn-benchmark
    sgd = groups_of(detector, ScheduleConfig())
    vectors = [name for name, p in detector.named_parameters() if p.ndim < 2 and "bias" not in name]
    assert {name for name in vectors if ".bn" not in name and ".downsample.1." not in name} == {
        name for name in vectors if sgd[name] == (1e-4, 1.0)
    }


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_backbone_may_learn_more_slowly(optimizer: str) -> None:
    config = dataclasses.replace(ScheduleConfig(), optimizer=optimizer)
    detector = build(norm="affine")
    alike = groups_of(detector, config)
    slower = groups_of(detector, dataclasses.replace(config, backbone_lr_factor=0.1))
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
