"""Every backbone and option: shapes, gradients, names, number types, and that images of a batch do not mix."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from paa.config import CAFFE_MEAN, InferenceConfig, ModelConfig
from paa.core.losses import paa_losses
from paa.core.outputs import HeadOutputs
from paa.errors import ConfigError
from paa.model.detector import Detector

SMALL = ModelConfig(backbone="resnet18", channels=32, tower_depth=1)
CAFFE: dict[str, Any] = {"norm_eps": 0.0, "stride_in_1x1": True, "mean": CAFFE_MEAN, "std": (1.0, 1.0, 1.0)}
CONFIGS = {
    "resnet18": SMALL,
    "resnet18 batch norm": dataclasses.replace(SMALL, norm="batch"),
    "resnet18 affine": dataclasses.replace(SMALL, norm="affine"),
    "resnet34": dataclasses.replace(SMALL, backbone="resnet34"),
    "resnet50": dataclasses.replace(SMALL, backbone="resnet50"),
    "resnet50 seed": dataclasses.replace(SMALL, backbone="resnet50", bgr=True, legacy=True, **CAFFE),
    "resnet50 mmdet": dataclasses.replace(SMALL, backbone="resnet50", p7_relu=False, anchor_offset=0.0),
    "resnet50 dcn": dataclasses.replace(SMALL, backbone="resnet50", dcn_stages=(3, 5), tower_dcn=True),
    "resnet50 dcn seed": dataclasses.replace(SMALL, backbone="resnet50", dcn_stages=(3, 4, 5), tower_dcn=True, **CAFFE),
    "resnet101": dataclasses.replace(SMALL, backbone="resnet101"),
    "resnet18 from P2": dataclasses.replace(SMALL, first_level=2, anchor_scale=4.0),
    "deep towers": dataclasses.replace(SMALL, tower_depth=4, channels=64),
}
NAMES = ("cat", "dog", "owl")


def build(config: ModelConfig, seed: int = 0) -> Detector:
    torch.manual_seed(seed)
    return Detector(config, NAMES)


def draw_images(seed: int, sizes: list[tuple[int, int]], height: int = 96, width: int = 128) -> tuple[Tensor, Tensor]:
    """Return images at the top left of a batch whose padding is noise, on which nothing may depend."""
    random = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (len(sizes), 3, height, width), dtype=torch.uint8, generator=random)
    return images, torch.tensor(sizes)


@pytest.mark.parametrize("name", CONFIGS)
def test_shapes_and_gradients(name: str) -> None:
    detector = build(CONFIGS[name]).train()
    detector.freeze(2)
    images, sizes = draw_images(0, [(96, 128), (70, 90)])
    outputs = detector(images, sizes)
    levels = [(24, 32), (12, 16), (6, 8), (3, 4), (2, 2), (1, 1)][detector.config.first_level - 2 :]
    assert outputs.level_sizes == tuple(levels)
    starts = [sum(rows * columns for rows, columns in levels[:i]) for i in range(len(levels) + 1)]
    assert outputs.level_starts() == starts
    n = starts[-1]
    assert outputs.cls_logits.shape == (2, n, 3)
    assert outputs.deltas.shape == (2, n, 4)
    assert outputs.iou_logits.shape == (2, n)
    anchors = detector.anchors(outputs)
    assert anchors.shape == (n, 4)
    sides = (anchors[:, 2] - anchors[:, 0]).unique_consecutive().tolist()
    assert sides == [detector.config.anchor_scale * stride for stride in detector.config.strides]
    boxes = torch.tensor([[[10.0, 10.0, 80.0, 90.0], [0.0, 0.0, 30.0, 40.0]], [[5.0, 5.0, 60.0, 60.0], [0.0] * 4]])
    losses = paa_losses(outputs, anchors, boxes, torch.tensor([[0, 1], [2, -1]]), legacy=detector.config.legacy).losses
    torch.stack(list(losses.values())).sum().backward()
    frozen = {id(p) for stage in detector.backbone.stages()[:2] for p in stage.parameters()}
    for parameter_name, parameter in detector.named_parameters():
        if id(parameter) in frozen:
            assert parameter.grad is None, parameter_name
        else:
            assert parameter.grad is not None, parameter_name
            assert torch.isfinite(parameter.grad).all(), parameter_name
    assert all(p.grad.abs().sum() > 0 for p in detector.head.parameters())
    assert all(p.grad.abs().sum() > 0 for p in detector.fpn.lateral.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_an_image_in_a_batch_is_as_alone(name: str) -> None:
    """Alone it has the same padding."""
    detector = build(CONFIGS[name]).eval()
    images, sizes = draw_images(1, [(96, 128), (61, 77)])
    with torch.inference_mode():
        both = detector(images, sizes)
        for i in range(2):
            alone = detector(images[i : i + 1], sizes[i : i + 1])
            for ours, theirs in zip(both[:3], alone[:3]):
                torch.testing.assert_close(ours[i : i + 1], theirs, rtol=1e-4, atol=1e-5)


def test_detect_of_images_of_different_sizes() -> None:
    detector = build(SMALL).eval()
    nn.init.zeros_(detector.head.cls_logits.bias)
    images, sizes = draw_images(2, [(96, 128), (40, 128), (96, 33)])
    boxes, scores, labels = detector.detect(images, sizes, InferenceConfig(max_detections=20))
    assert boxes.shape == (3, 20, 4)
    assert (labels >= 0).any(1).all()
    assert (boxes[..., 2:] <= sizes.flip(1)[:, None] * (1 + 1e-6)).all()
    assert (scores.diff(dim=1) <= 0).all()
    assert not boxes.requires_grad


@pytest.mark.parametrize("bgr", [False, True])
def test_normalise_does_not_read_the_padding(bgr: bool) -> None:
    config = dataclasses.replace(SMALL, mean=(10.0, 20.0, 30.0), std=(1.0, 2.0, 4.0), bgr=bgr)
    detector = build(config)
    images, sizes = draw_images(3, [(96, 128), (61, 77)])
    x = detector.normalise(images, sizes)
    expected = torch.zeros(2, 3, 96, 128)
    for i, (height, width) in enumerate(sizes.tolist()):
        for channel, (mean, std) in enumerate(zip(config.mean, config.std)):
            position = 2 - channel if bgr else channel
            expected[i, position, :height, :width] = (images[i, channel, :height, :width].float() - mean) / std
    torch.testing.assert_close(x, expected)
    noisy = images.clone()
    noisy[1, :, 61:], noisy[1, :, :, 77:] = 255, 7
    assert torch.equal(detector.normalise(noisy, sizes), x)
    by_pixel, floats = images.contiguous(memory_format=torch.channels_last), images.float()
    for given in (by_pixel, floats):
        y = detector.normalise(given, sizes)
        assert torch.equal(y, x)
        assert y.is_contiguous()
    assert torch.equal(floats, images.float())


def test_outputs_do_not_depend_on_the_padding() -> None:
    detector = build(SMALL).eval()
    images, sizes = draw_images(4, [(61, 77)])
    noisy = images.clone()
    noisy[:, :, 61:] = 0
    with torch.inference_mode():
        for ours, theirs in zip(detector(images, sizes)[:3], detector(noisy, sizes)[:3]):
            assert torch.equal(ours, theirs)


def test_at_the_start_every_class_has_probability_one_percent() -> None:
    detector = build(dataclasses.replace(SMALL, tower_depth=2)).eval()
    images, sizes = draw_images(5, [(96, 128)])
    with torch.inference_mode():
        outputs = detector(images, sizes)
    assert outputs.cls_logits.sigmoid().mean().item() == pytest.approx(0.01, rel=0.2)
    assert outputs.deltas.abs().max() < 1


@pytest.mark.parametrize(("offset", "legacy", "centre"), [(0.5, False, 4.0), (0.5, True, 4.5), (0.0, False, 0.0)])
def test_anchors_follow_the_configuration(offset: float, legacy: bool, centre: float) -> None:
    detector = build(dataclasses.replace(SMALL, anchor_offset=offset, legacy=legacy))
    empty = torch.zeros(1, 2, 4)
    anchors = detector.anchors(HeadOutputs(empty, empty, empty[..., 0], ((1, 1),) * 5))
    assert anchors[0].tolist() == [centre - 32, centre - 32, centre + 32, centre + 32]


EXPECTED_NAMES = {
    "backbone.conv1.weight": (64, 3, 7, 7),
    "backbone.bn1.running_var": (64,),
    "backbone.layer2.0.conv2.offset.weight": (27, 128, 3, 3),
    "backbone.layer2.0.conv2.offset.bias": (27,),
    "backbone.layer2.0.conv2.conv.weight": (128, 128, 3, 3),
    "backbone.layer3.5.conv3.weight": (1024, 256, 1, 1),
    "backbone.layer4.0.downsample.0.weight": (2048, 1024, 1, 1),
    "fpn.lateral.0.weight": (32, 512, 1, 1),
    "fpn.output.2.bias": (32,),
    "fpn.p6.weight": (32, 32, 3, 3),
    "fpn.p7.bias": (32,),
    "head.cls_tower.0.conv.conv.bias": (32,),
    "head.box_tower.0.conv.offset.weight": (27, 32, 3, 3),
    "head.box_tower.0.norm.weight": (32,),
    "head.cls_logits.weight": (3, 32, 3, 3),
    "head.deltas.bias": (4,),
    "head.iou_logits.weight": (1, 32, 3, 3),
    "head.scales": (5,),
}


def test_names_in_a_state_dict() -> None:
    """Checkpoints depend on these."""
    state = build(CONFIGS["resnet50 dcn"]).state_dict()
    assert {name: tuple(state[name].shape) for name in EXPECTED_NAMES} == EXPECTED_NAMES
    assert {name.split(".")[0] for name in state} == {"backbone", "fpn", "head"}
    assert not [name for name in state if "mean" in name and "running" not in name]  # they are the configuration's
    plain = build(CONFIGS["resnet50"]).state_dict()
    assert "backbone.layer2.0.conv2.weight" in plain
    assert {n for n in state if ".conv2." not in n and "tower" not in n} == {
        n for n in plain if ".conv2." not in n and "tower" not in n
    }


def test_norms() -> None:
    frozen = build(dataclasses.replace(SMALL, norm_eps=0.0)).backbone
    trained = build(dataclasses.replace(SMALL, norm="batch", norm_eps=1e-3)).backbone
    norms = [m for m in frozen.modules() if isinstance(m, FrozenBatchNorm2d)]
    assert len(norms) == len([m for m in trained.modules() if isinstance(m, nn.BatchNorm2d)]) == 20
    assert {m.eps for m in norms} == {0.0}
    assert {m.eps for m in trained.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    frozen.train()(torch.randn(2, 3, 64, 64))
    assert all(torch.equal(value, before[name]) for name, value in frozen.state_dict().items())


def test_frozen_statistics_and_trained_weights() -> None:
    """The norm "affine": frozen batch norm's numbers, with gradients of its weights, whoever sets which mode."""
    config = dataclasses.replace(SMALL, backbone="resnet50", norm_eps=0.0)
    frozen, affine = build(config).train(), build(dataclasses.replace(config, norm="affine"))
    state = frozen.state_dict()
    random = torch.Generator().manual_seed(0)
    for name, tensor in state.items():
        if ".running_" in name:
            tensor.copy_(torch.rand(tensor.shape, generator=random) + (0.5 if name.endswith("var") else -0.5))
    affine.load_state_dict(state, strict=False)
    images, sizes = draw_images(6, [(96, 128), (61, 77)])
    affine(images, sizes)
    affine.freeze(1)
    affine.detect(images, sizes)
    outputs = nn.Sequential(affine).train()[0](images, sizes)
    for ours, theirs in zip(outputs[:3], frozen(images, sizes)[:3]):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    outputs.cls_logits.sum().backward()
    assert affine.training
    for name, tensor in affine.state_dict().items():
        assert torch.equal(tensor, state[name]) if "running" in name else not name.endswith("tracked") or tensor == 0
    assert affine.backbone.bn1.weight.grad is None
    assert affine.backbone.layer1[0].bn1.weight.grad.abs().sum() > 0


def test_where_a_bottleneck_halves() -> None:
    in_3x3, in_1x1 = (build(CONFIGS[name]).backbone for name in ("resnet50", "resnet50 seed"))
    for first, third, backbone in ((1, 2, in_3x3), (2, 1, in_1x1)):
        for stage in (backbone.layer2, backbone.layer3, backbone.layer4):
            assert (stage[0].conv1.stride, stage[0].conv2.stride) == ((first, first), (third, third))
            assert (stage[1].conv1.stride, stage[1].conv2.stride) == ((1, 1), (1, 1))
    deformable = build(CONFIGS["resnet50 dcn seed"]).backbone.layer2[0]
    assert (deformable.conv1.stride, deformable.conv2.conv.stride) == ((2, 2), (1, 1))
    assert build(CONFIGS["resnet50 dcn"]).backbone.layer2[0].conv2.conv.stride == (2, 2)


def test_backbones_give_strides_8_16_32() -> None:
    for name, channels in (("resnet18", (128, 256, 512)), ("resnet50", (512, 1024, 2048))):
        backbone = build(dataclasses.replace(SMALL, backbone=name)).backbone.eval()
        assert backbone.channels == channels
        with torch.inference_mode():
            features = backbone(torch.zeros(1, 3, 64, 96))
        assert [tuple(f.shape) for f in features] == [
            (1, channels[0], 8, 12),
            (1, channels[1], 4, 6),
            (1, channels[2], 2, 3),
        ]
        assert [len(list(stage.parameters())) > 0 for stage in backbone.stages()] == [True] * 5


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"backbone": "resnet1"}, "unknown backbone 'resnet1'; known: resnet18"),
        ({"stride_in_1x1": True}, "resnet18 has no bottlenecks"),
        ({"dcn_stages": (3,)}, "resnet18 has no bottlenecks"),
        ({"backbone": "resnet50", "dcn_stages": (2, 3)}, "dcn_stages are among 3, 4, 5"),
    ],
)
def test_what_cannot_be_built(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(dataclasses.replace(SMALL, **wrong))


def test_p7_of_p6_with_and_without_relu() -> None:
    features = tuple(
        torch.randn(1, c, s, s, generator=torch.Generator().manual_seed(s)) for c, s in ((128, 16), (256, 8), (512, 4))
    )
    for relu in (True, False):
        fpn = build(dataclasses.replace(SMALL, p7_relu=relu)).fpn
        pyramid = fpn(features)
        assert [tuple(p.shape[1:]) for p in pyramid] == [(32, s, s) for s in (16, 8, 4, 2, 1)]
        assert (pyramid[3] < 0).any()
        torch.testing.assert_close(pyramid[4], fpn.p7(pyramid[3].clamp(min=0) if relu else pyramid[3]))


def test_the_pyramid_adds_the_level_above() -> None:
    fpn = build(SMALL).fpn
    features = [
        torch.randn(1, c, s, 2 * s, generator=torch.Generator().manual_seed(s))
        for c, s in ((128, 8), (256, 4), (512, 2))
    ]
    inner = fpn.lateral[2](features[2])
    for level in (1, 0):
        inner = fpn.lateral[level](features[level]) + inner.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(fpn(tuple(features))[0], fpn.output[0](inner))


def test_the_head_is_shared_but_for_scales() -> None:
    head = build(SMALL).head
    with torch.no_grad():
        head.scales.copy_(torch.arange(1.0, 6.0))
        head.deltas.bias.fill_(1.0)
    feature = torch.randn(2, 32, 3, 5, generator=torch.Generator().manual_seed(0))
    outputs = head([feature] * 5)
    for level in range(1, 5):
        cells = slice(15 * level, 15 * level + 15)
        assert torch.equal(outputs.cls_logits[:, cells], outputs.cls_logits[:, :15])
        assert torch.equal(outputs.iou_logits[:, cells], outputs.iou_logits[:, :15])
        torch.testing.assert_close(outputs.deltas[:, cells], outputs.deltas[:, :15] * (level + 1))
    maps = head.cls_logits(head.cls_tower(feature))  # row by row
    assert torch.equal(outputs.cls_logits[:, 7], maps[:, :, 1, 2])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18 batch norm", "resnet50 seed", "resnet50 dcn"])
def test_in_float64(name: str) -> None:
    """Head outputs, losses and gradients have that type; detections, in float32, are those of a float32 model."""
    detector = build(CONFIGS[name]).eval()
    nn.init.normal_(detector.head.cls_logits.weight, std=0.3)
    images, sizes = draw_images(0, [(96, 128), (70, 90)])
    boxes = torch.tensor([[[10.0, 10.0, 80.0, 90.0], [0.0, 0.0, 30.0, 40.0]], [[5.0, 5.0, 60.0, 60.0], [0.0] * 4]])
    labels = torch.tensor([[0, 1], [2, -1]])

    def losses() -> dict[str, Tensor]:
        outputs = detector(images, sizes)
        return paa_losses(outputs, detector.anchors(outputs), boxes, labels, legacy=detector.config.legacy).losses

    expected, detected = losses(), detector.detect(images, sizes)
    assert {loss.dtype for loss in expected.values()} == {torch.float32}
    detector.double()
    found = losses()
    assert {loss.dtype for loss in found.values()} == {torch.float64}
    for key, loss in found.items():
        assert loss.item() == pytest.approx(expected[key].item(), rel=1e-4)
    torch.stack(list(found.values())).sum().backward()
    assert all(p.grad.dtype == torch.float64 for p in detector.parameters() if p.grad is not None)
    again = detector.detect(images, sizes)
    assert (again.labels >= 0).any()
    assert [column.dtype for column in again] == [torch.float32, torch.float32, torch.int64]
    torch.testing.assert_close(again.scores, detected.scores, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(again.boxes, detected.boxes, rtol=1e-4, atol=1e-2)


def test_gradients_in_float64_are_finite_differences() -> None:
    detector = build(SMALL).double()
    images, sizes = draw_images(0, [(64, 64)], 64, 64)
    boxes, labels = torch.tensor([[[8.0, 8.0, 50.0, 60.0]]]), torch.tensor([[1]])

    def loss() -> Tensor:
        outputs = detector(images, sizes)
        return paa_losses(outputs, detector.anchors(outputs), boxes, labels).losses["classification"]

    weight = detector.fpn.output[0].weight
    (gradient,) = torch.autograd.grad(loss(), weight)
    direction = torch.randn(weight.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    step = 1e-6
    with torch.no_grad():
        weight.add_(direction, alpha=step)
        ahead = loss()
        weight.sub_(direction, alpha=2 * step)
        behind = loss()
    assert ((ahead - behind) / (2 * step)).item() == pytest.approx((gradient * direction).sum().item(), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_16_bits_are_refused(dtype: torch.dtype) -> None:
    detector = build(SMALL).to(dtype)
    images, sizes = draw_images(0, [(64, 64)], 64, 64)
    for run in (detector, detector.detect):
        with pytest.raises(ConfigError, match=rf"^the detector's weights are {dtype}: .*model\.float\(\).*autocast$"):
            run(images, sizes)
    detector.float()(images, sizes)


def test_autocast_keeps_deltas_precise_and_features_small() -> None:
    """Deltas and IoU logits stay float32, and frozen batch norm returns the type of its input."""
    detector = Detector(ModelConfig(backbone="resnet18", channels=16, tower_depth=1), ("a", "b")).eval()
    images, sizes = torch.randint(256, (1, 3, 64, 64), dtype=torch.uint8), torch.tensor([[64, 64]])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        features = detector.backbone(detector.normalise(images, sizes))
        outputs = detector(images, sizes)
    assert [feature.dtype for feature in features] == [torch.bfloat16] * 3
    assert outputs.deltas.dtype == outputs.iou_logits.dtype == torch.float32
