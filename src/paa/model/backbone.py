"""ResNets and ResNeXts from torchvision's blocks, giving c3, c4 and c5 (strides 8, 16, 32), and c2 (4) if asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.ops import FrozenBatchNorm2d

from paa.errors import ConfigError
from paa.model.deformable import DeformableConv
from paa.model.hooks import is_hooked


def conv_norm(x: Tensor, conv: Any, norm: nn.Module) -> Tensor:
    """Convolve and normalise: (B, C, H, W) -> (B, C', H', W'), which the caller may change in place.

    Batch norm whose statistics are fixed is a factor and a shift of each channel, and becomes part of the convolution:
    this saves two passes over the outputs. If either module has hooks, both are called as modules.
    """
    if is_hooked(conv, norm):
        watched: Tensor = norm(conv(x)).clone()
        return watched
    if not _is_fixed(conv, norm):
        y: Tensor = norm(conv(x))
        return y
    scale, shift = factor_and_shift(norm)
    folded: Tensor = conv._conv_forward(x, conv.weight * scale.view(-1, 1, 1, 1), shift)
    return folded


def _is_fixed(conv: nn.Module, norm: nn.Module) -> bool:
    """Return whether `norm` is batch norm that does not change, and `conv` a convolution that it can become part of.

    False for subclasses that may compute something else: they are called as modules.
    """
    fixed = type(norm) is FrozenBatchNorm or (type(norm) is nn.BatchNorm2d and not norm.training)
    return fixed and isinstance(conv, nn.Conv2d) and type(conv).forward is nn.Conv2d.forward


def factor_and_shift(norm: Any) -> tuple[Tensor, Tensor]:
    """Return the factor (C,) and the shift (C,) of each channel in fixed batch norm."""
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale, norm.bias - norm.running_mean * scale


class FrozenBatchNorm(FrozenBatchNorm2d):  # type: ignore[misc]
    """torchvision's FrozenBatchNorm2d, but in the input's type: float32 buffers would undo autocast in later layers."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        scale, shift = factor_and_shift(self)
        y: Tensor = x * scale.to(x.dtype).view(1, -1, 1, 1) + shift.to(x.dtype).view(1, -1, 1, 1)
        return y


def _shortcut(x: Tensor, downsample: nn.Sequential | None) -> Tensor:
    """Return what a block adds to its convolutions' output: its input, downsampled if the block does."""
    if downsample is None:
        return x
    if is_hooked(downsample):
        y: Tensor = downsample(x)
        return y
    return conv_norm(x, *downsample)


class _BasicBlock(BasicBlock):  # type: ignore[misc]
    """torchvision's BasicBlock, with batch norm inside the convolutions where it is fixed."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        y = F.relu_(conv_norm(x, self.conv1, self.bn1))
        y = conv_norm(y, self.conv2, self.bn2)
        y += _shortcut(x, self.downsample)
        return F.relu_(y)


class _Bottleneck(Bottleneck):  # type: ignore[misc]
    """torchvision's Bottleneck, with batch norm inside the convolutions where it is fixed."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        y = F.relu_(conv_norm(x, self.conv1, self.bn1))
        y = F.relu_(conv_norm(y, self.conv2, self.bn2))
        y = conv_norm(y, self.conv3, self.bn3)
        y += _shortcut(x, self.downsample)
        return F.relu_(y)


class ResNetShape(NamedTuple):
    """The kind of block, how many blocks each stage has, and the groups and width of their 3x3 convolutions."""

    block: type[BasicBlock | Bottleneck]
    depths: tuple[int, int, int, int]
    groups: int = 1
    width_per_group: int = 64


RESNETS = {
    "resnet18": ResNetShape(BasicBlock, (2, 2, 2, 2)),
    "resnet34": ResNetShape(BasicBlock, (3, 4, 6, 3)),
    "resnet50": ResNetShape(Bottleneck, (3, 4, 6, 3)),
    "resnet101": ResNetShape(Bottleneck, (3, 4, 23, 3)),
    "resnet152": ResNetShape(Bottleneck, (3, 8, 36, 3)),
    "resnext101_32x8d": ResNetShape(Bottleneck, (3, 4, 23, 3), 32, 8),
    "resnext101_64x4d": ResNetShape(Bottleneck, (3, 4, 23, 3), 64, 4),
    "resnext152_32x8d": ResNetShape(Bottleneck, (3, 8, 36, 3), 32, 8),
}


class ResNetBackbone(nn.Module):
    """The stem and four stages of a ResNet or ResNeXt, under torchvision's names.

    channels: of c3, c4 and c5, with first_level 2 of c2 before them. Arguments: as the fields of `ModelConfig`.
    ConfigError for an unknown name, or options that do not fit the backbone.
    """

    def __init__(
        self,
        name: str = "resnet50",
        *,
        norm: str = "frozen",
        norm_eps: float = 1e-5,
        stride_in_1x1: bool = False,
        dcn_stages: tuple[int, ...] = (),
        first_level: int = 3,
    ) -> None:
        super().__init__()
        if name not in RESNETS:
            raise ConfigError(f"unknown backbone {name!r}; known: {', '.join(RESNETS)}, and timm/NAME")
        block, depths, groups, width = RESNETS[name]
        if block is BasicBlock and (stride_in_1x1 or dcn_stages):
            raise ConfigError(f"{name} has no bottlenecks: stride_in_1x1 and dcn_stages do not apply")
        if not set(dcn_stages) <= {3, 4, 5}:
            raise ConfigError(f"dcn_stages are among 3, 4, 5, not {dcn_stages}")
        norm_layer: Callable[..., nn.Module] = FrozenBatchNorm if norm == "frozen" else nn.BatchNorm2d
        folding = _BasicBlock if block is BasicBlock else _Bottleneck
        resnet = ResNet(
            folding, list(depths), groups=groups, width_per_group=width, norm_layer=partial(norm_layer, eps=norm_eps)
        )
        self.conv1, self.bn1, self.maxpool = resnet.conv1, resnet.bn1, resnet.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4
        self.first_level = first_level
        self.channels = tuple(width * block.expansion for width in (64, 128, 256, 512)[first_level - 2 :])
        if stride_in_1x1:
            for stage in (self.layer2, self.layer3, self.layer4):
                stage[0].conv1.stride, stage[0].conv2.stride = stage[0].conv2.stride, stage[0].conv1.stride
        for stage in set(dcn_stages):
            for bottleneck in getattr(self, f"layer{stage - 1}"):
                plain = bottleneck.conv2
                bottleneck.conv2 = DeformableConv(
                    plain.in_channels, plain.out_channels, stride=plain.stride[0], groups=plain.groups, bias=False
                )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return c3, c4, c5, of strides 8, 16, 32, of images (B, 3, H, W); c2, of stride 4, before them with P2."""
        x = self.layer1(self.maxpool(F.relu_(conv_norm(x, self.conv1, self.bn1))))
        features = [x] if self.first_level == 2 else []
        for layer in (self.layer2, self.layer3, self.layer4):
            x = layer(x)
            features.append(x)
        return tuple(features)

    def fold(self) -> None:
        """Make fixed batch norm part of the convolutions' weights, for good; the batch norms' hooks are lost."""
        pairs = [(self, "conv1", "bn1")]
        for block in self.modules():
            if isinstance(block, (_BasicBlock, _Bottleneck)):
                pairs += [(block, f"conv{i}", f"bn{i}") for i in (1, 2, 3) if hasattr(block, f"conv{i}")]
                if block.downsample is not None:
                    pairs.append((block.downsample, "0", "1"))
        for owner, conv_name, norm_name in pairs:
            conv, norm = getattr(owner, conv_name), getattr(owner, norm_name)
            if _is_fixed(conv, norm):
                scale, shift = factor_and_shift(norm)
                conv.weight = nn.Parameter(conv.weight * scale.view(-1, 1, 1, 1), requires_grad=False)
                conv.bias = nn.Parameter(shift, requires_grad=False)
                setattr(owner, norm_name, nn.Identity())

    def stages(self) -> list[nn.Module]:
        """Return the parts that `Detector.freeze` counts: the stem, then the four stages."""
        return [nn.ModuleList([self.conv1, self.bn1]), self.layer1, self.layer2, self.layer3, self.layer4]
