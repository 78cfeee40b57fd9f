"""What a detector is: network, anchors and image size, as its checkpoints hold them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_type_hints

from paa.config.checks import check, check_types
from paa.errors import ConfigError

CAFFE_MEAN = (122.7717, 115.9465, 102.9801)

IMAGENET_MEAN = (123.675, 116.28, 103.53)

IMAGENET_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class ModelConfig:
    """The configuration of a detector, which its checkpoints hold."""

    backbone: str = "resnet50"
    """resnet18 to resnet152, resnext101_32x8d or 64x4d, resnext152_32x8d, timm/NAME."""
    norm: Literal["frozen", "affine", "batch"] = "frozen"
    """frozen: batch norm's statistics and weights never change; affine: only its weights are trained, for pre-trained
    backbones; batch: all is trained, for training from scratch."""
    norm_eps: float = 1e-5
    """Batch norm's epsilon; 0 in the seed's and the official checkpoints."""
    stride_in_1x1: bool = False
    """Stride in a bottleneck's first 1x1 convolution (MSRA, Caffe2) instead of its 3x3."""
    dcn_stages: tuple[int, ...] = ()
    """Stages (3, 4, 5 for c3..c5) of a ResNet or ResNeXt whose 3x3 convolutions are deformable (DCNv2)."""
    channels: int = 256
    """Width of the FPN and of the towers."""
    tower_depth: int = 4
    """Convolutions in each tower."""
    tower_dcn: bool = False
    """Deformable convolution in each tower's last layer."""
    first_level: int = 3
    """The pyramid's finest level: 3 (P3, of stride 8) as in the paper, or 2 (P2, of stride 4), for small objects."""
    p7_relu: bool = True
    """P7 from relu(P6); MMDetection's models have no relu."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Subtracted from the pixels (0..255), red, green, blue."""
    std: tuple[float, float, float] = IMAGENET_STD
    """Divides the pixels, red, green, blue."""
    bgr: bool = False
    """Feed the channels in the order blue, green, red (Caffe2's weights)."""
    anchor_scale: float = 8.0
    """Side of an anchor, in strides of its level: 8 (64 to 1024 pixels), or less for smaller objects."""
    anchor_offset: float = 0.5
    """Centre of a cell in strides: 0.5, or 0 for MMDetection's checkpoints."""
    legacy: bool = False
    """The seed's and the official code's inclusive pixels, in anchors, the GIoU loss and resizing."""
    threshold_joint: bool = False
    """The score threshold applies to the joint score (MMDetection), not to the class probability."""
    min_size: int = 800
    """Short side, in pixels, to which images are resized for detection."""
    max_size: int = 1333
    """Cap on their longer side."""

    @property
    def strides(self) -> tuple[int, ...]:
        """The strides of the pyramid's levels, the finest first: from P3 (or P2) to P7."""
        return tuple(2**level for level in range(self.first_level, 8))


def model_config(values: dict[str, Any]) -> ModelConfig:
    """Build a `ModelConfig` from the result of `to_dict`; ConfigError names an unknown or misshapen field."""
    hints = get_type_hints(ModelConfig)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ConfigError(f"model configuration has unknown fields: {', '.join(unknown)}")
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    for name, default in vars(ModelConfig()).items():
        given = fields.get(name, default)
        kinds = (int, float) if isinstance(default, float) else (type(default),)
        right = isinstance(given, kinds) and isinstance(given, bool) == isinstance(default, bool)
        numbers = given if name in ("mean", "std") and isinstance(given, tuple) else ()
        right = right and (name not in ("mean", "std") or [type(n) in (int, float) for n in numbers] == [True] * 3)
        if not right:
            raise ConfigError(f"model configuration: {name} cannot be {given!r}")
    config = ModelConfig(**fields)
    check_model(config)
    return config


def check_model(config: ModelConfig) -> None:
    """Raise ConfigError for invalid values, and for sizes far beyond any sensible model's."""
    check_types("model.", config)
    most = 10_000
    check(
        "model.",
        ("norm", config.norm, "frozen, affine or batch", config.norm in ("frozen", "affine", "batch")),
        ("channels", config.channels, f"from 1 to {most}", 1 <= config.channels <= most),
        ("first_level", config.first_level, "2 or 3", config.first_level in (2, 3)),
        ("tower_depth", config.tower_depth, "from 0 to 100", 0 <= config.tower_depth <= 100),
        ("norm_eps", config.norm_eps, "from 0 to 1", 0 <= config.norm_eps <= 1),
        ("norm_eps", config.norm_eps, "above 0 in trained batch norm", config.norm != "batch" or config.norm_eps > 0),
        ("mean", config.mean, "finite", all(math.isfinite(v) for v in config.mean)),
        ("std", config.std, "above 0", all(0 < v < math.inf for v in config.std)),
        ("anchor_scale", config.anchor_scale, "from 0.5 to 32", 0.5 <= config.anchor_scale <= 32),
        ("anchor_offset", config.anchor_offset, "from 0 to 1", 0 <= config.anchor_offset <= 1),
        ("min_size", config.min_size, f"from 1 to {most}", 1 <= config.min_size <= most),
        ("max_size", config.max_size, f"from 1 to {most}", 1 <= config.max_size <= most),
    )
