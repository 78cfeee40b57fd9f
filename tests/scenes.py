"""Random images for the tests of assignment, losses and post-processing: small, with every difficult case."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from paa.core.anchors import make_anchors
from paa.core.outputs import HeadOutputs

HEIGHT, WIDTH = 128, 192
LEVEL_SIZES = ((16, 24), (8, 12), (4, 6), (2, 3), (1, 2))
ANCHORS = make_anchors(LEVEL_SIZES)


class Scene(NamedTuple):
    """B images: the outputs of a head, and gt_boxes (B, G, 4), gt_labels (B, G), -1 in empty slots."""

    outputs: HeadOutputs
    gt_boxes: Tensor
    gt_labels: Tensor


def draw_outputs(seed: int, images: int, classes: int, background: float = -3.0, spread: float = 1.5) -> HeadOutputs:
    """Draw class logits around `background`, deltas that move boxes a little, and IoU logits."""
    random = torch.Generator().manual_seed(seed)
    n = len(ANCHORS)
    return HeadOutputs(
        background + spread * torch.randn(images, n, classes, generator=random),
        1.5 * torch.randn(images, n, 4, generator=random),
        torch.randn(images, n, generator=random),
        LEVEL_SIZES,
    )


def draw_boxes(seed: int, count: int, whole: bool = False) -> Tensor:
    """Draw (count, 4) boxes of sides 8 to 120; with `whole` numbers as corners, for exact arithmetic."""
    random = torch.Generator().manual_seed(seed)
    sides = torch.exp(torch.empty(count, 2).uniform_(2.08, 4.78, generator=random))
    corner = torch.rand(count, 2, generator=random) * (torch.tensor([WIDTH, HEIGHT]) - sides)
    boxes = torch.cat([corner, corner + sides], 1)
    return boxes.round() if whole else boxes


def draw_scene(seed: int, counts: tuple[int, ...], slots: int, classes: int = 3, whole: bool = False) -> Scene:
    """Draw images with `counts` objects, each in any of `slots` slots, so that empty ones are anywhere between."""
    random = torch.Generator().manual_seed(seed)
    gt_boxes, gt_labels = torch.zeros(len(counts), slots, 4), torch.full((len(counts), slots), -1)
    for image, count in enumerate(counts):
        places = torch.randperm(slots, generator=random)[:count]
        gt_boxes[image, places] = draw_boxes(seed * 100 + image, count, whole)
        gt_labels[image, places] = torch.randint(classes, (count,), generator=random)
    return Scene(draw_outputs(seed, len(counts), classes), gt_boxes, gt_labels)
