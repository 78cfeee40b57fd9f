"""Drawn inputs of the benchmarks: ground truths of mixed sizes, and what a head in training predicts for them.

The box coder is written here a second time, so that the yardsticks share nothing with the package but its input types.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_iou

from paa.core.anchors import make_anchors
from paa.core.outputs import HeadOutputs

HEIGHT, WIDTH = 800, 1344
LEVEL_SIZES = tuple((math.ceil(HEIGHT / stride), math.ceil(WIDTH / stride)) for stride in (8, 16, 32, 64, 128))
NUM_CLASSES = 80


class Scene(NamedTuple):
    """Two images of 800 x 1344: outputs at N anchors (N, 4); gt_boxes (2, n, 4), gt_labels (2, n) from 0."""

    outputs: HeadOutputs
    anchors: Tensor
    gt_boxes: Tensor
    gt_labels: Tensor


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Turn boxes into deltas: (..., 4) continuous xyxy, (..., 4) -> (..., 4), weights 10, 10, 5, 5."""
    anchor_w, anchor_h = anchors[..., 2] - anchors[..., 0], anchors[..., 3] - anchors[..., 1]
    w, h = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    dx = 10 * (boxes[..., 0] + w / 2 - anchors[..., 0] - anchor_w / 2) / anchor_w
    dy = 10 * (boxes[..., 1] + h / 2 - anchors[..., 1] - anchor_h / 2) / anchor_h
    return torch.stack([dx, dy, 5 * torch.log(w / anchor_w), 5 * torch.log(h / anchor_h)], dim=-1)


def decode(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Turn deltas into boxes: the inverse of `encode`, dw and dh at most log(1000 / 16)."""
    anchor_w, anchor_h = anchors[..., 2] - anchors[..., 0], anchors[..., 3] - anchors[..., 1]
    x = anchors[..., 0] + anchor_w / 2 + deltas[..., 0] / 10 * anchor_w
    y = anchors[..., 1] + anchor_h / 2 + deltas[..., 1] / 10 * anchor_h
    w = torch.exp(torch.clamp(deltas[..., 2] / 5, max=math.log(1000 / 16))) * anchor_w
    h = torch.exp(torch.clamp(deltas[..., 3] / 5, max=math.log(1000 / 16))) * anchor_h
    return torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], dim=-1)


def draw_scene(
    objects: int, seed: int, background: float, confidence: float, precision: float, classes: int = NUM_CLASSES
) -> Scene:
    """Draw two images with `objects` objects each, on the CPU.

    background: mean class logit where nothing is; confidence: what the logit of the right class gains at IoU 1;
    precision in 0..1: how much of the change from anchor to object the deltas make on average.
    """
    random = torch.Generator().manual_seed(seed)
    anchors = make_anchors(LEVEL_SIZES)
    size = torch.tensor([WIDTH, HEIGHT])
    side = torch.exp(torch.empty(2, objects, 1).uniform_(math.log(14), math.log(560), generator=random))
    ratio = torch.exp(torch.empty(2, objects, 1).uniform_(-0.7, 0.7, generator=random))
    sides = torch.cat([side * ratio.sqrt(), side / ratio.sqrt()], dim=-1)
    corner = torch.rand(2, objects, 2, generator=random) * (size - sides)
    gt_boxes = torch.cat([corner, corner + sides], dim=-1)
    gt_labels = torch.randint(classes, (2, objects), generator=random)

    cls_logits, deltas, iou_logits = [], [], []
    for boxes, labels in zip(gt_boxes, gt_labels):
        overlap, owner = box_iou(boxes, anchors).max(0)
        logits = background + 0.6 * torch.randn(len(anchors), classes, generator=random)
        gain = confidence * overlap * (1 + 0.4 * torch.randn(len(anchors), generator=random))
        logits[torch.arange(len(anchors)), labels[owner]] += gain
        part = (precision + 0.2 * torch.randn(len(anchors), 1, generator=random)).clamp(0, 1)
        wanted = encode(boxes[owner], anchors).clamp(-20, 20)
        noise = torch.randn(len(anchors), 4, generator=random) * (0.4 + 0.6 * (overlap < 0.1)[:, None])
        cls_logits.append(logits)
        deltas.append(torch.where((overlap > 0)[:, None], part * wanted, 0.0) + noise)
        quality = torch.logit((overlap + 0.3).clamp(0.02, 0.95))
        iou_logits.append(quality + 0.4 * torch.randn(len(anchors), generator=random))
    outputs = HeadOutputs(torch.stack(cls_logits), torch.stack(deltas), torch.stack(iou_logits), LEVEL_SIZES)
    return Scene(outputs, anchors, gt_boxes, gt_labels)


def to_device(scene: Scene, device: str) -> Scene:
    """Move a scene to a device."""
    outputs = HeadOutputs(*(t.to(device) for t in scene.outputs[:3]), scene.outputs.level_sizes)
    return Scene(outputs, *(t.to(device) for t in scene[1:]))
