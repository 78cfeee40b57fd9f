"""The detector as a module: images in, head outputs or detections out."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from typing_extensions import Self

from paa.config import InferenceConfig, ModelConfig, Precision
from paa.core.anchors import make_anchors
from paa.core.outputs import HeadOutputs
from paa.core.postprocess import DetectedBatch, detect
from paa.errors import ConfigError
from paa.model.backbone import ResNetBackbone
from paa.model.fpn import FeaturePyramid
from paa.model.head import Head
from paa.model.timm_backbone import TimmBackbone
from paa.runtime.device import has_bfloat16

_MODES = threading.Lock()

PADDING = 32
"""Batches are padded to a multiple of this, so that each level of the pyramid has half the size of the level below."""


class Detector(nn.Module):
    """Backbone, pyramid and head of PAA, as `config` says, for the classes in `names`. It knows nothing of files."""

    mean: Tensor
    std: Tensor
    most_detections: int | None = None
    """Most detections of an image that `detect` can give, in an exported model; None: as many as are asked for."""
    resizes = False
    """Whether `detect` takes images of their original size and resizes them by itself, as some exported models do."""
    _inside = 0  # threads in `detect`
    _modes: Sequence[tuple[nn.Module, bool]] = ()  # what they found

    def __init__(self, config: ModelConfig, names: tuple[str, ...]) -> None:
        """names: the classes, in the order of the labels (from 0)."""
        super().__init__()
        self.config, self.names = config, tuple(names)
        self.frozen_stages = 0
        self.backbone: ResNetBackbone | TimmBackbone
        if config.backbone.startswith("timm/"):
            if config.stride_in_1x1 or config.dcn_stages:
                raise ConfigError(f"{config.backbone}: stride_in_1x1 and dcn_stages are for ResNets and ResNeXts only")
            name = config.backbone.removeprefix("timm/")
            self.backbone = TimmBackbone(name, norm=config.norm, first_level=config.first_level)
        else:
            self.backbone = ResNetBackbone(
                config.backbone,
                norm=config.norm,
                norm_eps=config.norm_eps,
                stride_in_1x1=config.stride_in_1x1,
                dcn_stages=config.dcn_stages,
                first_level=config.first_level,
            )
        self.fpn = FeaturePyramid(self.backbone.channels, config.channels, config.p7_relu)
        self.head = Head(config.channels, len(names), config.tower_depth, config.tower_dcn, len(config.strides))
        self.register_buffer("mean", torch.tensor(config.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(1, 3, 1, 1), persistent=False)
        self.train()

    def freeze(self, stages: int) -> None:
        """Stop training the backbone's first `stages` (1: the stem, 2: the stem and the first stage, ...).

        A stage of timm's backbones ends in one of timm's features. ConfigError if the backbone has fewer stages.
        """
        if stages > len(self.backbone.stages()):
            raise ConfigError(
                f"{self.config.backbone} has {len(self.backbone.stages())} stages that can be frozen, not {stages}: "
                "set schedule.frozen_stages"
            )
        self.frozen_stages = stages
        for stage in self.backbone.stages()[:stages]:
            stage.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set training mode, except for frozen stages, whose batch norm must not update its statistics."""
        super().train(mode)
        frozen = self.backbone.stages()[: self.frozen_stages]
        if self.config.norm == "affine":
            frozen += [module for module in self.backbone.modules() if isinstance(module, nn.BatchNorm2d)]
        for module in frozen:
            module.eval()
        return self

    def normalise(self, images: Tensor, sizes: Tensor) -> Tensor:
        """Return the network's input (B, 3, H, W) from uint8 RGB images (B, 3, H, W); the padding becomes zero.

        sizes (B, 2): (height, width) of each image. The result has the weights' type. ConfigError for 16-bit weights,
        too few for the pixels of boxes.
        """
        dtype = self.mean.dtype
        if dtype not in (torch.float32, torch.float64):
            raise ConfigError(
                f"the detector's weights are {dtype}: it computes with float32 or float64 ones (model.float()); "
                "for speed use model.optimise('bfloat16'), or in training torch.autocast"
            )
        height, width = images.shape[-2:]
        inside_y = torch.arange(height, device=images.device) < sizes[:, :1]
        inside_x = torch.arange(width, device=images.device) < sizes[:, 1:]
        channels, mean, std = images.unbind(1), self.mean, self.std
        if self.config.bgr:
            channels, mean, std = channels[::-1], mean.flip(1), std.flip(1)
        # from here in place: on a CPU fresh memory costs more than the arithmetic
        x = torch.stack(channels, 1).to(dtype)
        return x.sub_(mean).div_(std).mul_(inside_y[:, None, :, None] & inside_x[:, None, None, :])

    def forward(self, images: Tensor, sizes: Tensor) -> HeadOutputs:
        """Return the head's outputs for uint8 RGB images (B, 3, H, W), H and W multiples of 32, of sizes (B, 2)."""
        outputs: HeadOutputs = self.head(self.fpn(self.backbone(self.normalise(images, sizes))))
        return outputs

    def anchors(self, outputs: HeadOutputs) -> Tensor:
        """Return the anchors (N, 4) that the outputs are for, in their order."""
        return make_anchors(
            outputs.level_sizes,
            self.config.strides,
            scale=self.config.anchor_scale,
            offset=self.config.anchor_offset,
            shift=0.5 if self.config.legacy else 0.0,
            device=outputs.deltas.device,
        )

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Put a network that is in training mode into evaluation mode, until the last thread inside has left."""
        with _MODES:
            if self._inside == 0 and self.training:
                self._modes = [(module, module.training) for module in self.modules()]
                self.eval()
            self._inside += 1
        try:
            yield
        finally:
            with _MODES:
                self._inside -= 1
                if self._inside == 0:
                    for module, training in self._modes:
                        module.training = training
                    self._modes = ()

    @torch.inference_mode()
    def detect(self, images: Tensor, sizes: Tensor, config: InferenceConfig = InferenceConfig()) -> DetectedBatch:
        """Return the detections of a batch, in its pixels, in float32; see `core.postprocess.detect`.

        images (B, 3, H, W): uint8 RGB, H and W multiples of 32; sizes (B, 2): (height, width) of each image. Of
        `config`, `threshold`, `views` and `tiles` are for `inference.detect.detect_batch`, and `compile` for
        `PAA.optimise`. The network runs in evaluation mode; afterwards each of its modules is in the mode that it was
        in. Several threads may call this at a time.
        """
        with self._evaluating(), autocast(config.precision, images.device):
            outputs = self(images, sizes)
        return detect(
            outputs,
            self.anchors(outputs),
            sizes,
            voting=config.voting,
            threshold=config.effective_candidate_threshold,
            threshold_joint=self.config.threshold_joint,
            nms_iou=config.nms_iou,
            limit=config.max_detections,
            legacy=self.config.legacy,
        )


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """Return the context in which the network computes in a precision; "auto": as the device has instructions for."""
    bfloat16 = precision == "bfloat16" or (precision == "auto" and has_bfloat16(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=bfloat16)
