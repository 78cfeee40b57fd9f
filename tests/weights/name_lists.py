"""Which tensors other implementations' checkpoints hold, and where each belongs in this project's models.

From the rules of torchvision's bottleneck ResNets and of the formats' naming, independent of the code that is tested.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

Shape = tuple[int, ...]


class Place(NamedTuple):
    """Where a tensor belongs: this project's name, the position inside it (only of the levels' scales), its shape."""

    ours: str
    position: int | None
    shape: Shape


class Form(NamedTuple):
    """A bottleneck ResNet or ResNeXt: blocks of each stage, groups and their width in the first stage's 3x3."""

    depths: tuple[int, int, int, int]
    groups: int = 1
    width: int = 64


R50, R101 = Form((3, 4, 6, 3)), Form((3, 4, 23, 3))
X101_64X4D, X101_32X8D = Form((3, 4, 23, 3), 64, 4), Form((3, 4, 23, 3), 32, 8)
X152_32X8D = Form((3, 8, 36, 3), 32, 8)

_NORM = ("weight", "bias", "running_mean", "running_var")


def blocks(form: Form) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield (stage from 1, block, channels in, channels inside, channels out) of every block."""
    channels = 64
    for stage, depth in enumerate(form.depths, 1):
        inside, out = form.groups * form.width * 2 ** (stage - 1), 256 * 2 ** (stage - 1)
        for block in range(depth):
            yield stage, block, channels, inside, out
            channels = out


def resnet_shapes(form: Form, dcn_stages: tuple[int, ...] = ()) -> dict[str, Shape]:
    """Name -> shape under torchvision's names, without counters; dcn_stages: 3 for c3, which is layer2, ..."""
    shapes: dict[str, Shape] = {"conv1.weight": (64, 3, 7, 7), **{f"bn1.{part}": (64,) for part in _NORM}}
    for stage, block, channels, inside, out in blocks(form):
        path = f"layer{stage}.{block}."
        shapes[f"{path}conv1.weight"] = (inside, channels, 1, 1)
        middle = (inside, inside // form.groups, 3, 3)
        if stage + 1 in dcn_stages:
            shapes[f"{path}conv2.offset.weight"], shapes[f"{path}conv2.offset.bias"] = (27, inside, 3, 3), (27,)
            shapes[f"{path}conv2.conv.weight"] = middle
        else:
            shapes[f"{path}conv2.weight"] = middle
        shapes[f"{path}conv3.weight"] = (out, inside, 1, 1)
        norms = {"bn1": inside, "bn2": inside, "bn3": out}
        if block == 0:
            shapes[f"{path}downsample.0.weight"] = (out, channels, 1, 1)
            norms["downsample.1"] = out
        shapes.update({f"{path}{norm}.{part}": (width,) for norm, width in norms.items() for part in _NORM})
    return shapes


def seed_places(
    form: Form, dcn_stages: tuple[int, ...] = (), tower_dcn: bool = False, classes: int = 80
) -> dict[str, Place]:
    """Return the seed's names, each with its place."""
    places = {
        f"backbone.body.{'' if name.startswith('layer') else 'stem.'}{name}": Place(f"backbone.{name}", None, shape)
        for name, shape in resnet_shapes(form, dcn_stages).items()
    }

    def layer(theirs: str, ours: str, weight: Shape) -> None:
        places[f"{theirs}.weight"] = Place(f"{ours}.weight", None, weight)
        places[f"{theirs}.bias"] = Place(f"{ours}.bias", None, weight[:1])

    for level, channels in enumerate((512, 1024, 2048)):  # the seed counts from c2, which no pyramid of PAA takes
        layer(f"backbone.fpn.fpn_inner{level + 2}", f"fpn.lateral.{level}", (256, channels, 1, 1))
        layer(f"backbone.fpn.fpn_layer{level + 2}", f"fpn.output.{level}", (256, 256, 3, 3))
    for name in ("p6", "p7"):
        layer(f"backbone.fpn.top_blocks.{name}", f"fpn.{name}", (256, 256, 3, 3))
    for theirs, ours in (("cls_tower", "cls_tower"), ("bbox_tower", "box_tower")):
        for i in range(4):  # a convolution, a norm and a ReLU each
            conv, inner = f"head.{theirs}.{3 * i}", f"head.{ours}.{i}.conv"
            if tower_dcn and i == 3:
                layer(f"{conv}.offset", f"{inner}.offset", (27, 256, 3, 3))
                layer(f"{conv}.conv", f"{inner}.conv", (256, 256, 3, 3))
            else:
                layer(conv, inner, (256, 256, 3, 3))
            layer(f"head.{theirs}.{3 * i + 1}", f"head.{ours}.{i}.norm", (256,))
    for theirs, ours, channels in (("cls_logits", "cls_logits", classes), ("bbox_pred", "deltas", 4)):
        layer(f"head.{theirs}", f"head.{ours}", (channels, 256, 3, 3))
    layer("head.iou_pred", "head.iou_logits", (1, 256, 3, 3))
    places.update({f"head.scales.{level}.scale": Place("head.scales", level, (1,)) for level in range(5)})
    return places


def seed_shapes(
    depths: tuple[int, int, int, int],
    groups: int = 1,
    width: int = 64,
    dcn_stages: tuple[int, ...] = (),
    tower_dcn: bool = False,
    classes: int = 80,
) -> dict[str, Shape]:
    """Name -> shape of a checkpoint of the seed."""
    places = seed_places(Form(depths, groups, width), dcn_stages, tower_dcn, classes)
    return {name: place.shape for name, place in places.items()}


def official_content(state: Mapping[str, Any], module: bool = True, iteration: int | None = 90_000) -> dict[str, Any]:
    """Return the content of a checkpoint of the official code, from the seed's state dict.

    iteration None: without it, the optimizer and the schedule, as a file made for others may be.
    """
    prefix = "module." if module else ""
    model = {f"{prefix}{'rpn.' if name.startswith('head.') else ''}{name}": value for name, value in state.items()}
    for level in range(5):
        half = 4.0 * 2 ** (level + 3)
        model[f"{prefix}rpn.anchor_generator.cell_anchors.{level}"] = torch.tensor([[-half, -half, half, half]])
    if iteration is None:
        return {"model": model}
    moved = {"momentum_buffer": torch.zeros(3)}
    optimizer = {"state": {0: moved, 140_000_000_000: moved}, "param_groups": [{"lr": 0.01, "params": [0]}]}
    scheduler = {
        "milestones": (60_000, 80_000),
        "last_epoch": iteration,
        "base_lrs": [0.01],
        "warmup_method": "constant",
    }
    return {"model": model, "optimizer": optimizer, "scheduler": scheduler, "iteration": iteration}


def mmdet_places(form: Form, dcn_stages: tuple[int, ...] = ()) -> dict[str, Place | None]:
    """Return MMDetection's names, each with its place; None for batch norm's counters, which are dropped."""
    places: dict[str, Place | None] = {}
    for name, shape in resnet_shapes(form, dcn_stages).items():
        # its deformable convolutions hold their offsets' inside
        theirs = name.replace("conv2.offset.", "conv2.conv_offset.").replace("conv2.conv.weight", "conv2.weight")
        places[f"backbone.{theirs}"] = Place(f"backbone.{name}", None, shape)
        if name.endswith("running_var"):
            places[f"backbone.{name.replace('running_var', 'num_batches_tracked')}"] = None

    def layer(theirs: str, ours: str, weight: Shape) -> None:
        places[f"{theirs}.weight"] = Place(f"{ours}.weight", None, weight)
        places[f"{theirs}.bias"] = Place(f"{ours}.bias", None, weight[:1])

    for level, channels in enumerate((512, 1024, 2048)):
        layer(f"neck.lateral_convs.{level}.conv", f"fpn.lateral.{level}", (256, channels, 1, 1))
    for level, ours in enumerate(("output.0", "output.1", "output.2", "p6", "p7")):
        layer(f"neck.fpn_convs.{level}.conv", f"fpn.{ours}", (256, 256, 3, 3))
    for theirs, ours in (("cls_convs", "cls_tower"), ("reg_convs", "box_tower")):
        for i in range(4):  # without a bias
            weight = Place(f"head.{ours}.{i}.conv.weight", None, (256, 256, 3, 3))
            places[f"bbox_head.{theirs}.{i}.conv.weight"] = weight
            layer(f"bbox_head.{theirs}.{i}.gn", f"head.{ours}.{i}.norm", (256,))
    for theirs, ours, channels in (("cls", "cls_logits", 80), ("reg", "deltas", 4), ("centerness", "iou_logits", 1)):
        layer(f"bbox_head.atss_{theirs}", f"head.{ours}", (channels, 256, 3, 3))
    places.update({f"bbox_head.scales.{level}.scale": Place("head.scales", level, ()) for level in range(5)})
    return places


def caffe2_places(
    depths: tuple[int, int, int, int], groups: int = 1, width: int = 64, classifier: str = "fc1000", classes: int = 1000
) -> dict[str, tuple[str | None, Shape]]:
    """Return Caffe2's blobs, each with the backbone's tensor that it fills (None: dropped) and its shape."""
    places: dict[str, tuple[str | None, Shape]] = {"conv1_w": ("conv1.weight", (64, 3, 7, 7))}

    def norm(blob: str, ours: str, channels: int) -> None:
        places[f"{blob}_bn_s"], places[f"{blob}_bn_b"] = (f"{ours}.weight", (channels,)), (f"{ours}.bias", (channels,))

    norm("res_conv1", "bn1", 64)
    for stage, block, channels, inside, out in blocks(Form(depths, groups, width)):
        blob, path = f"res{stage + 1}_{block}_branch", f"layer{stage}.{block}."
        branches = [
            ("2a", "conv1", "bn1", (inside, channels, 1, 1)),
            ("2b", "conv2", "bn2", (inside, inside // groups, 3, 3)),
            ("2c", "conv3", "bn3", (out, inside, 1, 1)),
        ]
        if block == 0:
            branches.append(("1", "downsample.0", "downsample.1", (out, channels, 1, 1)))
        for branch, conv, bn, shape in branches:
            places[f"{blob}{branch}_w"] = (f"{path}{conv}.weight", shape)
            norm(f"{blob}{branch}", f"{path}{bn}", shape[0])
    places[f"{classifier}_w"], places[f"{classifier}_b"] = (None, (classes, 2048)), (None, (classes,))
    return places


def caffe2_shapes(depths: tuple[int, int, int, int], groups: int = 1, width: int = 64) -> dict[str, Shape]:
    """Blob -> shape of a Caffe2 file of a ResNet, or of a ResNeXt with ImageNet's 1000 classes."""
    places = caffe2_places(depths, groups, width, "fc1000" if groups == 1 else "pred")
    return {blob: shape for blob, (_, shape) in places.items()}


def marked(shapes: Mapping[str, Shape]) -> dict[str, Tensor]:
    """Return tensors of these shapes, each filled with a different small positive number; they take no memory."""
    numbers = {name: (zlib.crc32(name.encode()) + 1) / 2**32 * 1e-3 for name in shapes}
    assert len({torch.tensor(number).item() for number in numbers.values()}) == len(shapes)
    return {name: torch.tensor(numbers[name]).expand(shape) for name, shape in shapes.items()}


def misplaced(theirs: Mapping[str, Tensor], places: Mapping[str, Place | None], own: Mapping[str, Tensor]) -> list[str]:
    """Return the names in a file whose tensors are not equal, to the bit, to those of a model's state."""
    wrong = []
    for name, place in places.items():
        if place is not None:
            there = own[place.ours] if place.position is None else own[place.ours][place.position]
            if not torch.equal(there, theirs[name].reshape(there.shape)):
                wrong.append(name)
    return wrong
