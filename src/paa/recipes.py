"""Named configurations: the references' (the seed's, the official code's, MMDetection's), this project's, and files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from paa.config import CAFFE_MEAN, AugmentConfig, ModelConfig, Recipe, ScheduleConfig, to_dict
from paa.errors import ConfigError

# The official style: MSRA's or Caffe2's weights, inclusive pixels. The seed's four recipes are among these.
_CAFFE = ModelConfig(norm_eps=0.0, stride_in_1x1=True, mean=CAFFE_MEAN, std=(1.0, 1.0, 1.0), bgr=True, legacy=True)
_R101 = replace(_CAFFE, backbone="resnet101")
_X101 = replace(_CAFFE, backbone="resnext101_64x4d", stride_in_1x1=False)
_X152 = replace(_X101, backbone="resnext152_32x8d", dcn_stages=(3, 4, 5), min_size=864, max_size=1440)
_MULTI_SCALE = AugmentConfig(min_sizes=(640, 800))
_2X = ScheduleConfig(steps=180_000, decays=(120_000, 160_000))

# MMDetection's style: torchvision's weights, batch norm's weights trained, and epochs of COCO's 117,266 images with
# objects. (MMDetection decays biases too; this project never does.)
_PYTORCH = ModelConfig(norm="affine", p7_relu=False, anchor_offset=0.0, threshold_joint=True)
_PYTORCH_R101 = replace(_PYTORCH, backbone="resnet101")
_STEPS_AN_EPOCH = 7330


# Today's habits: AdamW, linear warm-up, cosine, clipped gradients, nothing frozen.
_TODAY = ScheduleConfig(
    decays=(),
    optimizer="adamw",
    weight_decay=0.05,
    bias_lr_factor=1.0,
    warmup_factor=0.01,
    warmup="linear",
    shape="cosine",
    frozen_stages=0,
    clip_norm=10.0,
)


def _epochs(epochs: int, *decays: int) -> ScheduleConfig:
    return ScheduleConfig(
        steps=epochs * _STEPS_AN_EPOCH,
        decays=tuple(decay * _STEPS_AN_EPOCH for decay in decays),
        bias_lr_factor=1.0,
        warmup="linear",
        warmup_factor=0.001,
    )


RECIPES: dict[str, Recipe] = {
    # Decided from the data, the device and the weights at hand (training/auto.py); these values are where it begins.
    "auto": Recipe(
        ModelConfig(
            backbone="timm/tf_efficientnet_lite0",
            norm="affine",
            channels=64,
            mean=(127.5, 127.5, 127.5),
            std=(127.5, 127.5, 127.5),
            min_size=256,
            max_size=427,
        ),
        AugmentConfig(min_sizes=(256,), max_size=427),
        replace(_TODAY, reference_batch=8, lr=5e-4, warmup_steps=100),
    ),
    "r50_1x": Recipe(_CAFFE),
    "r50_1.5x": Recipe(_CAFFE, schedule=ScheduleConfig(steps=135_000, decays=(90_000, 120_000))),
    "r101_2x": Recipe(_R101, _MULTI_SCALE, _2X),
    "r101_dcn_2x": Recipe(replace(_R101, dcn_stages=(3, 4, 5), tower_dcn=True), _MULTI_SCALE, _2X),
    "x101_64x4d_2x": Recipe(_X101, _MULTI_SCALE, _2X),
    "x101_64x4d_dcn_2x": Recipe(replace(_X101, dcn_stages=(4, 5), tower_dcn=True), _MULTI_SCALE, _2X),
    "x101_32x8d_dcn_2x": Recipe(
        replace(_X101, backbone="resnext101_32x8d", dcn_stages=(4, 5), tower_dcn=True), _MULTI_SCALE, _2X
    ),
    "x152_32x8d_dcn_2x": Recipe(
        replace(_X152, tower_dcn=True),
        AugmentConfig(min_sizes=(640, 864), max_size=1440),
        ScheduleConfig(steps=360_000, decays=(240_000, 320_000), reference_batch=8, lr=0.005),
    ),
    "mmdet_r50_1x": Recipe(_PYTORCH, schedule=_epochs(12, 8, 11)),
    "mmdet_r50_1.5x": Recipe(_PYTORCH, schedule=_epochs(18, 12, 16)),
    "mmdet_r50_2x": Recipe(_PYTORCH, schedule=_epochs(24, 16, 22)),
    "mmdet_r50_mstrain_3x": Recipe(_PYTORCH, _MULTI_SCALE, _epochs(36, 28, 34)),
    "mmdet_r101_1x": Recipe(_PYTORCH_R101, schedule=_epochs(12, 8, 11)),
    "mmdet_r101_2x": Recipe(_PYTORCH_R101, schedule=_epochs(24, 16, 22)),
    "mmdet_r101_mstrain_3x": Recipe(_PYTORCH_R101, _MULTI_SCALE, _epochs(36, 28, 34)),
    # For any backbone: large-scale jitter (Ghiasi et al. 2021), averaged weights.
    "modern": Recipe(
        ModelConfig(norm="affine"),
        AugmentConfig(scale_jitter=(0.5, 2.0), color_jitter=0.2),
        replace(_TODAY, lr=5e-4, backbone_lr_factor=0.1, ema=0.9998),
    ),
    # From scratch, in minutes, without a GPU.
    "r18_nano": Recipe(
        ModelConfig(backbone="resnet18", norm="batch", channels=64, tower_depth=2, min_size=256, max_size=448),
        AugmentConfig(min_sizes=(224, 288), max_size=448, scale_jitter=(0.7, 1.4), color_jitter=0.2),
        replace(_TODAY, steps=1200, reference_batch=8, lr=1e-3, warmup_steps=100),
    ),
}

AUTO = "auto"
"""The recipe that `training.auto` decides."""


def find_recipe(name: str) -> Recipe:
    """Return the recipe of that name, or that of a file such as a run's recipe.json.

    The values of `auto` are those that it starts from. ConfigError lists the known recipes if the name is unknown, and
    says what is wrong with a file.
    """
    if name in RECIPES:
        return RECIPES[name]
    path = Path(name)
    if path.suffix != ".json":
        raise ConfigError(f"unknown recipe {name!r}; known: {', '.join(RECIPES)}, or a file: runs/NAME/recipe.json")
    try:
        values = msgspec.json.decode(path.read_bytes())
        recipe = msgspec.convert(values, Recipe)
    except OSError as error:
        raise ConfigError(f"{path}: no such recipe file ({error.strerror})") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ConfigError) as error:
        raise ConfigError(f"{path}: not a recipe ({error})") from error
    if unknown := _unknown_fields(values, to_dict(recipe)):
        raise ConfigError(f"{path}: not a recipe (unknown fields: {', '.join(unknown)})")
    return recipe


def file_sets(name: str, part: str, field: str) -> bool:
    """Return whether a recipe file, which `find_recipe` can read, says itself what a field is."""
    return field in msgspec.json.decode(Path(name).read_bytes()).get(part, {})


def _unknown_fields(values: Mapping[str, Any], known: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the names in a file's values, such as `schedule.rate`, that are no fields of a recipe."""
    unknown = [f"{prefix}{name}" for name in values if name not in known]
    for name, value in values.items():
        if isinstance(value, Mapping) and isinstance(known.get(name), Mapping):
            unknown += _unknown_fields(value, known[name], f"{prefix}{name}.")
    return unknown
