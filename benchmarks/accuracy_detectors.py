"""The detectors that benchmarks/accuracy.py compares, with one interface: this project's, and three of torchvision's.

All have the same backbone with the same start, and pyramids and heads of the same width. What is not named here is each
library's default.

- PAA: this project's, with the pyramid's first level, the anchors, the probability that classes start with and, from
  random weights, the depth of the towers as the recipe `auto` chooses them for the training images.
- FCOS: as `fcos_resnet50_fpn`, on the same pyramid. It keeps scores from 0.05 on as the other two (its default, 0.2,
  lowers COCO's numbers), and its group norms have groups of 8 channels, as ours (by default groups of 2 at this width).
- RetinaNet: as `retinanet_resnet50_fpn_v2`, with group norm in the heads (as FCOS) and the GIoU loss, on the same
  pyramid.
- Faster R-CNN: as `fasterrcnn_resnet50_fpn`, on a pyramid with strides from 4 to 64. The hidden layers of its box head
  are as many times as wide as the pyramid as by default (1024 for 256). On a CPU its boxes are pooled to torchvision's
  numbers in a faster way (sparse_roi_align.py).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from paa.config import IMAGENET_MEAN, IMAGENET_STD, InferenceConfig, ModelConfig
from paa.core import Assigner, LossWeights, PaaAssigner
from paa.core.losses import paa_losses
from paa.data.batch import Batch
from paa.data.index import DatasetIndex
from paa.inference.detect import detect_batch
from paa.model.backbone import ResNetBackbone
from paa.model.detector import Detector
from paa.model.fpn import FeaturePyramid
from paa.model.prepare import prepare_for_device
from paa.model.timm_backbone import TimmBackbone
from paa.training.auto import (
    PRIOR_PROBABILITY,
    TOWERS_FROM_SCRATCH,
    choose_anchor_scale,
    choose_first_level,
    facts_of,
)
from paa.weights.read import read_start
from paa.weights.start import load_start, starting_model
from paa.weights.state import BackboneWeights
from sparse_roi_align import SparseRoIAlign

Found = list[tuple[Tensor, Tensor, Tensor]]
"""For each image: boxes (n, 4) in the pixels of the original image, scores (n,), labels (n,)."""


@dataclass(frozen=True)
class Terms:
    """What is equal for all detectors."""

    size: int = 160
    """Short side of the images, in pixels; their long side is at most 5/3 of it."""
    channels: int = 64
    """Width of the pyramid and the heads."""
    batch_size: int = 8
    lr: float = 5e-4
    backbone_lr_factor: float = 0.1
    weight_decay: float = 0.05
    warmup_steps: int = 100
    """Linear warm-up, at most a quarter of the run; then a cosine to zero."""
    clip_norm: float = 10.0
    hflip: float = 0.5
    scale_jitter: tuple[float, float] | None = None
    color_jitter: float = 0.0
    mosaic: float = 0.0
    average: float = 0.0
    """Decay of an average of this project's weights (as `schedule.ema`), which is tested too; 0: none."""
    evaluations: int = 4
    """Evaluations of a run, the last one at its end."""

    @property
    def max_size(self) -> int:
        return self.size * 5 // 3

    def lr_at(self, step: int, steps: int) -> float:
        warmup = min(self.warmup_steps, steps // 4)
        rising = 1.0 if step >= warmup else 0.01 + 0.99 * step / warmup
        return self.lr * rising * 0.5 * (1 + math.cos(math.pi * step / steps))


class Start(NamedTuple):
    """The backbone, its batch norm (as in `ModelConfig`), its weights (None: random), and its input."""

    backbone: str
    norm: str
    weights: BackboneWeights | None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


def from_imagenet(name: str = "efficientnet_lite0") -> Start:
    """An EfficientNet-Lite with ImageNet weights, and batch norm whose statistics stay as they are."""
    weights = read_start(name, "")
    assert isinstance(weights, BackboneWeights)
    fields = weights.fields
    return Start(fields["backbone"], "affine", weights, fields["mean"], fields["std"])


def from_random() -> Start:
    """ResNet-18 with random weights, and trained batch norm."""
    return Start("resnet18", "batch", None)


STARTS: dict[str, Callable[[], Start]] = {"imagenet": from_imagenet, "random": from_random}


class Ours(nn.Module):
    """This project's detector; the arguments after the names are for the study of its parts."""

    def __init__(
        self,
        config: ModelConfig,
        start: Start,
        names: tuple[str, ...],
        *,
        assigner: Assigner = PaaAssigner(),
        weights: LossWeights = LossWeights(),
        inference: InferenceConfig = InferenceConfig(),
        change: Callable[[Detector], object] = lambda detector: None,
    ) -> None:
        """change: changes the new detector in place."""
        super().__init__()
        config = replace(config, backbone=start.backbone, norm=start.norm)
        if start.weights is not None:
            config, _ = starting_model(start.weights, config)
        self.detector = Detector(config, names)
        if start.weights is not None:
            load_start(self.detector, start.weights)
        change(self.detector)
        prepare_for_device(self.detector, channels_last=True, fast_convolutions=True)
        self.assigner, self.weights, self.inference = assigner, weights, inference

    @property
    def backbone(self) -> nn.Module:
        return self.detector.backbone

    def losses(self, batch: Batch) -> Tensor:
        outputs = self.detector(batch.images, batch.sizes)
        result = paa_losses(
            outputs,
            self.detector.anchors(outputs),
            batch.gt_boxes,
            batch.gt_labels,
            assigner=self.assigner,
            weights=self.weights,
        )
        return torch.stack(list(result.losses.values())).sum()

    def detect(self, batch: Batch) -> Found:
        found = detect_batch(self.detector, batch.images, batch.sizes, batch.original_sizes, self.inference)
        return [(boxes[labels >= 0], scores[labels >= 0], labels[labels >= 0]) for boxes, scores, labels in zip(*found)]


class TorchvisionPeer(nn.Module):
    """One of torchvision's detectors, with images that are not resized again. first_label: the label of class 0."""

    def __init__(self, model: nn.Module, backbone: nn.Module, norm: str, first_label: int = 0) -> None:
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)
        # its option to skip resizing is for training only
        self.model.transform.resize = lambda image, target=None: (image, target)
        self.backbone, self.norm, self.first_label = backbone, norm, first_label

    def train(self, mode: bool = True) -> TorchvisionPeer:
        super().train(mode)
        if self.norm != "batch":
            for module in self.backbone.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def losses(self, batch: Batch) -> Tensor:
        targets = []
        for boxes, labels in zip(batch.gt_boxes, batch.gt_labels):
            valid = labels >= 0
            targets.append({"boxes": boxes[valid], "labels": labels[valid] + self.first_label})
        return torch.stack(list(self.model(_images(batch), targets).values())).sum()

    @torch.inference_mode()
    def detect(self, batch: Batch) -> Found:
        found = self.model(_images(batch))
        scale = (batch.original_sizes / batch.sizes.cpu()).flip(1).repeat(1, 2)
        limit = batch.original_sizes.flip(1).repeat(1, 2)
        results = []
        for b, each in enumerate(found):
            boxes = torch.minimum((each["boxes"].cpu() * scale[b]).clamp(min=0), limit[b])
            results.append((boxes, each["scores"].cpu(), each["labels"].cpu() - self.first_label))
        return results


def _images(batch: Batch) -> list[Tensor]:
    return [image[:, :h, :w].float() / 255 for image, (h, w) in zip(batch.images, batch.sizes.tolist())]


class Pyramid(nn.Module):
    """A backbone and this project's pyramid, as torchvision's detectors take them."""

    def __init__(self, backbone: ResNetBackbone | TimmBackbone, channels: int) -> None:
        super().__init__()
        self.backbone, self.out_channels = backbone, channels
        self.fpn = FeaturePyramid(backbone.channels, channels, p7_relu=True)

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        return OrderedDict((str(i), level) for i, level in enumerate(self.fpn(self.backbone(x))))


class FinePyramid(nn.Module):
    """A backbone and torchvision's pyramid, with strides from 4 (`first_level` 3: 8) to 64, as Faster R-CNN has it."""

    def __init__(self, backbone: ResNetBackbone | TimmBackbone, channels: int, first_level: int = 2) -> None:
        super().__init__()
        self.backbone, self.out_channels, self.first_level = backbone, channels, first_level
        with torch.no_grad():
            widths = [feature.shape[1] for feature in self.features(torch.zeros(1, 3, 64, 64))]
        self.fpn = FeaturePyramidNetwork(widths, channels, extra_blocks=LastLevelMaxPool())

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the features of strides 4, 8, 16 and 32, or from stride 8 on."""
        return self.all_features(x)[self.first_level - 2 :]

    def all_features(self, x: Tensor) -> list[Tensor]:
        if isinstance(self.backbone, TimmBackbone):
            strides = self.backbone.body.feature_info.reduction()
            features = self.backbone.body(x)
            return [features[strides.index(stride)] for stride in (4, 8, 16, 32)]
        stride_4: list[Tensor] = []
        hook = self.backbone.layer1.register_forward_hook(lambda module, given, output: stride_4.append(output))
        coarser = self.backbone(x)
        hook.remove()
        return [*stride_4, *coarser]

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        features = self.features(x)
        levels: OrderedDict[str, Tensor] = self.fpn(OrderedDict((str(i), each) for i, each in enumerate(features)))
        return levels


def make_ours(start: Start, data: DatasetIndex, terms: Terms) -> Ours:
    facts = facts_of(data)
    level = choose_first_level(facts, terms.size)
    scale = choose_anchor_scale(facts, terms.size, level)
    towers = TOWERS_FROM_SCRATCH if start.weights is None else ModelConfig().tower_depth
    config = ModelConfig(channels=terms.channels, first_level=level, anchor_scale=scale, tower_depth=towers)
    return Ours(config, start, data.names, change=lambda new: new.head.start_classes_at(PRIOR_PROBABILITY))


def make_fcos(
    start: Start,
    data: DatasetIndex,
    terms: Terms,
    *,
    kind: type[FCOS] = FCOS,
    anchors: AnchorGenerator | None = None,
) -> TorchvisionPeer:
    """kind: a subclass. anchors: with one of them at a location; None: torchvision's."""
    backbone = _backbone(start)
    pyramid = Pyramid(backbone, terms.channels)
    model = kind(pyramid, len(data.names), anchor_generator=anchors, score_thresh=0.05, **_input(start))
    _groups_of_8(model.head)
    return TorchvisionPeer(model, backbone, start.norm)


def make_retinanet(
    start: Start,
    data: DatasetIndex,
    terms: Terms,
    *,
    kind: type[RetinaNet] = RetinaNet,
    anchors: AnchorGenerator | None = None,
) -> TorchvisionPeer:
    """kind: a subclass. anchors: None: torchvision's nine at a location."""
    backbone = _backbone(start)
    if anchors is None:
        sizes = tuple(tuple(int(side * 2 ** (i / 3)) for i in range(3)) for side in (32, 64, 128, 256, 512))
        anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))
    classes, channels = len(data.names), terms.channels
    (number,) = set(anchors.num_anchors_per_location())
    head = RetinaNetHead(channels, number, classes, norm_layer=partial(nn.GroupNorm, channels // 8))
    head.regression_head._loss_type = "giou"
    pyramid = Pyramid(backbone, channels)
    model = kind(pyramid, classes, anchor_generator=anchors, head=head, **_input(start))
    return TorchvisionPeer(model, backbone, start.norm)


def make_faster_rcnn(start: Start, data: DatasetIndex, terms: Terms, *, first_level: int = 2) -> TorchvisionPeer:
    """first_level: of the pyramid; 3 leaves out stride 4 and its anchors of 32 pixels."""
    backbone, channels = _backbone(start), terms.channels
    box_head = TwoMLPHead(channels * 7**2, 4 * channels)
    predictor = FastRCNNPredictor(4 * channels, len(data.names) + 1)
    pyramid = FinePyramid(backbone, channels, first_level)
    sides = (32, 64, 128, 256, 512)[first_level - 2 :]
    anchors = AnchorGenerator(tuple((side,) for side in sides), ((0.5, 1.0, 2.0),) * len(sides))
    strides = (4, 8, 16, 32)[first_level - 2 :]
    pool = SparseRoIAlign([str(level) for level in range(len(strides))], 7, strides)
    model = FasterRCNN(
        pyramid,
        rpn_anchor_generator=anchors,
        box_roi_pool=pool,
        box_head=box_head,
        box_predictor=predictor,
        **_input(start),
    )
    return TorchvisionPeer(model, backbone, start.norm, first_label=1)


DETECTORS: dict[str, Callable[[Start, DatasetIndex, Terms], Ours | TorchvisionPeer]] = {
    "PAA": make_ours,
    "FCOS": make_fcos,
    "RetinaNet": make_retinanet,
    "Faster R-CNN": make_faster_rcnn,
}


def _backbone(start: Start) -> ResNetBackbone | TimmBackbone:
    if not start.backbone.startswith("timm/"):
        return ResNetBackbone(start.backbone, norm=start.norm)
    backbone = TimmBackbone(start.backbone.removeprefix("timm/"), norm=start.norm)
    if start.weights is not None:
        backbone.load_state_dict(dict(start.weights.tensors))
    return backbone


def _input(start: Start) -> dict[str, object]:
    """Return the arguments of a torchvision detector that normalise its input as ours is."""
    mean, std = ([value / 255 for value in values] for values in (start.mean, start.std))
    return {"image_mean": mean, "image_std": std}


def _groups_of_8(head: nn.Module) -> None:
    for module in head.modules():
        if isinstance(module, nn.GroupNorm):
            module.num_groups = module.num_channels // 8
