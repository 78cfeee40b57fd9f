"""ResNets and ResNeXts: equal to torchvision's in names, shapes and numbers; strides, deformable and frozen stages."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from paa.config import ModelConfig
from paa.errors import ConfigError
from paa.model import backbone as module
from paa.model.backbone import RESNETS, ResNetBackbone, ResNetShape
from paa.model.deformable import DeformableConv
from paa.model.detector import Detector

IN_TORCHVISION = [name for name in RESNETS if name != "resnext152_32x8d"]
SUBSETS = [stages for count in range(4) for stages in itertools.combinations((3, 4, 5), count)]
META = torch.device("meta")
SIZE = (64, 96)

Stages = tuple[int, ...]
Build = Callable[..., ResNetBackbone]


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network's tensors, without a classifier's."""
    return {name: tuple(t.shape) for name, t in network.state_dict().items() if not name.startswith("fc.")}


def randomise(network: nn.Module) -> None:
    """Fill a network on the meta device with numbers like a trained network's, different in each tensor."""
    network.to_empty(device="cpu")
    random = torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if tensor.ndim == 4:
            tensor.normal_(0, tensor[0].numel() ** -0.5, generator=random)
        elif tensor.is_floating_point():
            low = 0.5 if name.endswith(("running_var", "weight")) else -0.5
            tensor.uniform_(low, low + 1, generator=random)
        else:
            tensor.zero_()


def features_of_torchvision(network: nn.Module, x: Tensor) -> list[Tensor]:
    features = []
    for name, child in network.named_children():
        if name in ("avgpool", "fc"):
            break
        x = child(x)
        features.append(x)
    return features[-3:]


def draw_image(*size: int) -> Tensor:
    return torch.randn(2, 3, *(size or SIZE), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Build:
    """Return a function that builds a ResNeXt of four groups with few blocks, in evaluation mode."""
    monkeypatch.setitem(module.RESNETS, "tiny", ResNetShape(Bottleneck, (1, 1, 2, 1), 4, 4))

    def build(**options: Any) -> ResNetBackbone:
        torch.manual_seed(0)
        return ResNetBackbone("tiny", **options).eval()

    return build


def test_which_backbones_exist() -> None:
    assert set(RESNETS) == {
        *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
        *("resnext101_32x8d", "resnext101_64x4d", "resnext152_32x8d"),
    }


@pytest.mark.parametrize("name", IN_TORCHVISION)
def test_names_and_shapes_are_torchvisions(name: str) -> None:
    with META:
        theirs = shapes(torchvision.models.get_model(name))
        assert shapes(ResNetBackbone(name, norm="batch")) == theirs
        frozen = shapes(ResNetBackbone(name, norm="frozen"))
    assert frozen == {n: shape for n, shape in theirs.items() if not n.endswith("num_batches_tracked")}


def test_names_and_shapes_of_resnext152() -> None:
    """As deep as ResNet-152; each block has the shapes of ResNeXt-101 32x8d's block of the same stage."""
    with META:
        ours = shapes(ResNetBackbone("resnext152_32x8d", norm="batch"))
        deep, wide = (shapes(torchvision.models.get_model(n)) for n in ("resnet152", "resnext101_32x8d"))
    assert set(ours) == set(deep)
    for name, shape in ours.items():
        stage, _, rest = name.partition(".")
        block, _, tensor = rest.partition(".")
        alike = name if not stage.startswith("layer") or block == "0" else f"{stage}.1.{tensor}"
        assert shape == wide[alike], name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext101_32x8d"])
def test_features_are_torchvisions(name: str) -> None:
    with META:
        theirs = torchvision.models.get_model(name).eval()
        batch, frozen = (ResNetBackbone(name, norm=norm).eval() for norm in ("batch", "frozen"))
    randomise(theirs)
    state = {n: tensor for n, tensor in theirs.state_dict().items() if not n.startswith("fc.")}
    batch.load_state_dict(state, assign=True)
    frozen.load_state_dict(state, assign=True)  # which leaves out the counts
    # batch norm that is part of the convolutions rounds differently; in float64 rounding hides no mistake
    x = draw_image().double()
    theirs, batch, frozen = theirs.double(), batch.double(), frozen.double()
    with torch.inference_mode():
        for expected, *ours in zip(features_of_torchvision(theirs, x), batch(x), frozen(x), strict=True):
            assert expected.abs().max() > 0.1
            for features in ours:
                assert (features - expected).abs().max() <= 1e-12 * expected.abs().max()


@pytest.mark.parametrize(
    ("name", "stride_in_1x1"),
    [(name, False) for name in RESNETS] + [(name, True) for name in ("resnet50", "resnet101", "resnext101_64x4d")],
)
def test_strides_are_8_16_32_wherever_a_bottleneck_halves(name: str, stride_in_1x1: bool) -> None:
    """Found from the sizes of every convolution's input and output, not from its attributes."""
    bottlenecks = name not in ("resnet18", "resnet34")
    halving: set[str] = set()
    with META:
        backbone = ResNetBackbone(name, stride_in_1x1=stride_in_1x1)

        def hook(of: str) -> Callable[[nn.Module, tuple[Tensor], Tensor], None]:
            return lambda _, given, made: halving.add(of) if made.shape[-1] < given[0].shape[-1] else None

        for of, layer in backbone.named_modules():
            if isinstance(layer, nn.Conv2d):
                layer.register_forward_hook(hook(of))
        features = backbone(torch.zeros(2, 3, *SIZE))
    first = "conv1" if stride_in_1x1 or not bottlenecks else "conv2"
    stages = ("layer2.0", "layer3.0", "layer4.0")
    assert halving == {"conv1", *(f"{stage}.{conv}" for stage in stages for conv in (first, "downsample.0"))}
    assert [tuple(f.shape) for f in features] == [
        (2, c, 64 // s, 96 // s) for c, s in zip(backbone.channels, (8, 16, 32))
    ]
    assert backbone.channels == ((512, 1024, 2048) if bottlenecks else (128, 256, 512))


@pytest.mark.parametrize("stages", SUBSETS)
@pytest.mark.parametrize("stride_in_1x1", [False, True])
def test_deformable_stages_start_plain_at_half_strength(tiny: Build, stages: Stages, stride_in_1x1: bool) -> None:
    deformable = tiny(dcn_stages=stages, stride_in_1x1=stride_in_1x1)
    plain = tiny(stride_in_1x1=stride_in_1x1)
    halved = [f"layer{stage - 1}.{block}.conv2" for stage in stages for block in range(2 if stage == 4 else 1)]
    assert {n for n, layer in deformable.named_modules() if isinstance(layer, DeformableConv)} == set(halved)
    state, offsets = deformable.state_dict(), {}
    for name in halved:
        state[f"{name}.weight"] = state.pop(f"{name}.conv.weight") / 2
        offsets.update({n: state.pop(n) for n in (f"{name}.offset.weight", f"{name}.offset.bias")})
    assert all(not tensor.any() for tensor in offsets.values())
    plain.load_state_dict(state)  # strict: no other names
    with torch.inference_mode():
        before = deformable(draw_image())
        for ours, expected in zip(before, plain(draw_image()), strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
        for level, shape in enumerate(((8, 12), (4, 6), (2, 3))):
            assert before[level].shape == (2, (512, 1024, 2048)[level], *shape)


@pytest.mark.parametrize(
    ("stages", "norm"), [*((stages, "frozen") for stages in SUBSETS[1:]), ((4, 5), "affine"), ((3, 4, 5), "batch")]
)
def test_deformable_stages_learn(tiny: Build, stages: Stages, norm: str) -> None:
    backbone = tiny(dcn_stages=stages, norm=norm, stride_in_1x1=len(stages) == 2).train()
    before = [feature.detach() for feature in backbone(draw_image())]
    sum(feature.square().mean() for feature in backbone(draw_image())).backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any() or (".bn" in name and norm != "frozen"), name
    offsets = [p for n, p in backbone.named_parameters() if n.endswith("offset.weight")]
    assert len(offsets) == sum(2 if stage == 4 else 1 for stage in stages)
    with torch.no_grad():
        for offset in offsets:
            offset.fill_(0.01)
        changed = [not torch.equal(ours, old) for ours, old in zip(backbone(draw_image()), before, strict=True)]
    assert changed == [level >= min(stages) for level in (3, 4, 5)]


def test_deformable_groups_of_resnext() -> None:
    """A deformable stage has the tensors of the plain one, renamed, and one offset for all groups."""
    with META:
        plain, deformable = (shapes(ResNetBackbone("resnext101_32x8d", dcn_stages=stages)) for stages in ((), (4, 5)))
    moved = {
        n: n.replace(".conv2.", ".conv2.conv.") for n in plain if n.startswith(("layer3", "layer4")) and ".conv2." in n
    }
    assert len(moved) == 23 + 3
    expected = {moved.get(n, n): shape for n, shape in plain.items()}
    for name in moved:
        width = 32 * plain[name][1]
        expected[name.replace(".weight", ".offset.weight")] = (27, width, 3, 3)
        expected[name.replace(".weight", ".offset.bias")] = (27,)
    assert deformable == expected


def test_a_stage_named_twice_is_deformable_once(tiny: Build) -> None:
    once, twice = tiny(dcn_stages=(3, 5)), tiny(dcn_stages=(5, 3, 5))
    assert shapes(once) == shapes(twice) == shapes(tiny(dcn_stages=(3, 5), stride_in_1x1=True))


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("resnet18", {"dcn_stages": (5,)}, "resnet18 has no bottlenecks: stride_in_1x1 and dcn_stages do not apply"),
        ("resnet34", {"stride_in_1x1": True}, "resnet34 has no bottlenecks"),
        ("resnet50", {"dcn_stages": (2,)}, r"dcn_stages are among 3, 4, 5, not \(2,\)"),
        ("resnet50", {"dcn_stages": (3, 6)}, "dcn_stages are among 3, 4, 5"),
        ("resnext101_32x8d", {"dcn_stages": (0,)}, "dcn_stages are among 3, 4, 5"),
        ("resnet51", {}, "unknown backbone 'resnet51'; known: resnet18, .*resnext152_32x8d, and timm/NAME"),
        ("ResNet50", {}, "unknown backbone 'ResNet50'"),
        ("resnext50_32x4d", {}, "unknown backbone"),
        ("", {}, "unknown backbone ''"),
        ("convnext_atto", {}, "unknown backbone 'convnext_atto'; .* timm/NAME"),
    ],
)
def test_invalid_options(name: str, options: dict[str, Any], says: str) -> None:
    with META, pytest.raises(ConfigError, match=says) as caught:
        ResNetBackbone(name, **options)
    assert "\n" not in str(caught.value)


STAGES = (("conv1.", "bn1."), ("layer1.",), ("layer2.",), ("layer3.",), ("layer4.",))
"""How the names of the tensors in the stem and in each stage start."""


@pytest.mark.parametrize(
    ("stages", "norm"), [*((stages, "batch") for stages in range(6)), (2, "affine"), (2, "frozen"), (5, "frozen")]
)
def test_frozen_stages_and_no_others(stages: int, norm: str) -> None:
    """They are not trained, and their batch norm does not update its statistics, whatever mode is set."""
    torch.manual_seed(0)
    detector = Detector(ModelConfig(backbone="resnet18", norm=norm, channels=16, tower_depth=0), ("a",))
    detector.freeze(stages)
    detector.eval()
    detector.train()
    backbone = detector.backbone
    frozen = tuple(start for group in STAGES[:stages] for start in group) or ("none",)
    assert {n for n, p in backbone.named_parameters() if not p.requires_grad} == {
        n for n, _ in backbone.named_parameters() if n.startswith(frozen)
    }
    assert all(p.requires_grad for n, p in detector.named_parameters() if not n.startswith("backbone."))
    before = {n: tensor.clone() for n, tensor in backbone.state_dict().items()}
    features = backbone(draw_image(32, 32))
    updated = {n for n, tensor in backbone.state_dict().items() if not torch.equal(tensor, before[n])}
    statistics = {n for n in before if "running_" in n or n.endswith("tracked")}
    assert updated == ({n for n in statistics if not n.startswith(frozen)} if norm == "batch" else set())
    if stages < 5:
        sum(feature.square().mean() for feature in features).backward()
        assert all((p.grad is None) == n.startswith(frozen) for n, p in backbone.named_parameters())
    else:
        assert not any(feature.requires_grad for feature in features)


@pytest.mark.parametrize(("backbone", "stages", "most"), [("resnet18", 6, 5), ("timm/mobilenetv3_small_050", 6, 5)])
def test_more_stages_than_there_are(backbone: str, stages: int, most: int) -> None:
    with META:
        detector = Detector(ModelConfig(backbone=backbone, channels=16, tower_depth=0), ("a",))
    says = f"^{backbone} has {most} stages that can be frozen, not {stages}: set schedule.frozen_stages$"
    with pytest.raises(ConfigError, match=says):
        detector.freeze(stages)
    assert all(p.requires_grad for p in detector.parameters())
    detector.freeze(most)
