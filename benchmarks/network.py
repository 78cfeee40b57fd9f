"""The detectors that the network benchmarks compare: this project's ResNet-50 and torchvision's FCOS and RetinaNet.

All have a ResNet-50 with frozen batch norm whose stem and first stage are not trained, a pyramid of 256 channels from
P3 to P7, and towers of four convolutions: torchvision's FCOS is PAA but for assignment, losses and post-processing.
All weights are random: the machine's time does not depend on them, but for the number of detections.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from paa.config import ModelConfig
from paa.data.batch import padded_size
from paa.predictor import PAA
from paa.runtime.memory import keep_memory
from timing import measure

CLASSES = 80
HEIGHT, WIDTH = 800, 1333


def paa_r50() -> PAA:
    """Return this project's detector, with random weights."""
    torch.manual_seed(0)
    model = PAA(ModelConfig(), tuple(f"class {c}" for c in range(CLASSES)))
    model.freeze(2)
    return model


def _backbone() -> nn.Module:
    return resnet_fpn_backbone(
        backbone_name="resnet50",
        weights=None,
        norm_layer=FrozenBatchNorm2d,
        trainable_layers=3,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256, 256),
    )


def fcos_r50() -> nn.Module:
    """Return torchvision's `fcos_resnet50_fpn` as built for a pre-trained backbone, but with random weights."""
    torch.manual_seed(0)
    return FCOS(_backbone(), CLASSES, min_size=HEIGHT, max_size=WIDTH)


def retinanet_r50() -> nn.Module:
    """Return torchvision's `retinanet_resnet50_fpn_v2`, likewise, with the same pyramid and frozen batch norm."""
    torch.manual_seed(0)
    sizes = tuple((x, int(x * 2 ** (1 / 3)), int(x * 2 ** (2 / 3))) for x in (32, 64, 128, 256, 512))
    anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))
    head = RetinaNetHead(256, anchors.num_anchors_per_location()[0], CLASSES, lambda c: nn.GroupNorm(32, c))
    return RetinaNet(_backbone(), CLASSES, min_size=HEIGHT, max_size=WIDTH, anchor_generator=anchors, head=head)


def as_paa_runs(run: Callable[[], object]) -> Callable[[], object]:
    """Return `run` with the memory limits that this project's commands set where the CPU computes."""

    def kept() -> object:
        keep_memory()
        return run()

    return kept


def as_it_comes(run: Callable[[], object]) -> Callable[[], object]:
    """Return `run` with the memory limits that glibc itself arrives at."""

    def returned() -> object:
        keep_memory(False)
        return run()

    return returned


def print_limit(
    benchmark: str,
    case: str,
    run: Callable[[], object],
    seconds: float,
    device: str,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Print the JSON line of what multiplying matrices alone would take: the run's operations over the device's rate.

    run: not compiled, as torch counts operations one by one when they are called. seconds: what the run takes,
    compiled or not. dtype: of its convolutions. gflop: 10^9 multiplications and additions in convolutions and matrix
    products, as torch counts them. rate: 10^9 of them a second in the product of two matrices of 2048 x 2048, the best
    of ten.
    """
    with FlopCounterMode(display=False) as counter:
        run()
    matrix = torch.randn(2048, 2048, device=device, dtype=dtype)
    arguments = argparse.Namespace(device=device, repeats=10)
    rate = 2 * 2048**3 / min(measure(lambda: matrix @ matrix, arguments)) / 1e9
    gflop = counter.get_total_flops() / 1e9
    line = {"benchmark": benchmark, "case": f"limit: {case}", "gflop": round(gflop), "gflop_a_second": round(rate)}
    line |= {"at_that_rate_s": round(gflop / rate, 3), "measured_s": round(seconds, 3)}
    print(json.dumps(line), flush=True)


class Images:
    """A batch as each side takes it: uint8 here, floats from 0 to 1 in lists there; seven objects in each image.

    images (B, 3, 800, 1344), sizes (B, 2), gt_boxes (B, 8, 4), gt_labels (B, 8).
    """

    def __init__(self, number: int, device: str) -> None:
        random = torch.Generator().manual_seed(0)
        height, width = padded_size([(HEIGHT, WIDTH)])
        self.images = torch.zeros(number, 3, height, width, dtype=torch.uint8)
        self.images[..., :WIDTH] = torch.randint(256, (number, 3, HEIGHT, WIDTH), generator=random, dtype=torch.uint8)
        self.sizes = torch.tensor([[HEIGHT, WIDTH]] * number)
        sides = torch.exp(torch.empty(number, 7, 2).uniform_(math.log(20), math.log(500), generator=random))
        corner = torch.rand(number, 7, 2, generator=random) * (torch.tensor([WIDTH, HEIGHT]) - sides)
        boxes = torch.cat([corner, corner + sides], dim=2)
        labels = torch.randint(CLASSES, (number, 7), generator=random)
        self.gt_boxes = nn.functional.pad(boxes, (0, 0, 0, 1))
        self.gt_labels = nn.functional.pad(labels, (0, 1), value=-1)
        for name in ("images", "sizes", "gt_boxes", "gt_labels"):
            setattr(self, name, getattr(self, name).to(device))
        self.floats = [image[:, :, :WIDTH].float() / 255 for image in self.images]
        self.targets: list[dict[str, Tensor]] = [
            {"boxes": boxes[i].to(device), "labels": labels[i].to(device)} for i in range(number)
        ]
