"""torchvision's RetinaNet, FCOS and Faster R-CNN train with PAA's assignment, by the classes of docs/elsewhere.md."""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import MultiScaleRoIAlign, generalized_box_iou_loss, sigmoid_focal_loss

from paa.assigners import HighestIouAssigner
from paa.core import HeadOutputs, PaaAssigner, assign, candidates_per_object, count_positives, decode, make_anchors
from paa.core import match as match_anchors
from paa.torchvision_heads import (
    fcos_outputs,
    level_sizes,
    matched_idxs,
    pad_targets,
    proposal_outputs,
    proposal_targets,
    retinanet_outputs,
)

PAGE = Path(__file__).parents[1] / "docs" / "elsewhere.md"
CLASSES: dict[str, Any] = {}
exec(re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.M | re.S)[0], CLASSES)

WIDTH, STRIDES = 32, (8, 16, 32)
ONE = AnchorGenerator(((32,), (64,), (128,)), ((1.0,),) * 3)
SIX = AnchorGenerator(((16, 24), (32, 48), (64, 96)), ((0.5, 1.0, 2.0),) * 3)
Images, Targets = list[Tensor], list[dict[str, Tensor]]


class Pyramid(nn.Module):
    """Three levels of strides 8, 16 and 32, by one convolution each."""

    out_channels = WIDTH

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.Conv2d(3, WIDTH, 7, 8, 3), nn.Conv2d(WIDTH, WIDTH, 3, 2, 1), nn.Conv2d(WIDTH, WIDTH, 3, 2, 1)]
        )
        self.norm = nn.GroupNorm(4, WIDTH)

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        levels = OrderedDict()
        for i, layer in enumerate(self.layers):
            x = self.norm(layer(x)).relu()
            levels[str(i)] = x
        return levels


def batch() -> tuple[Images, Targets]:
    """Three images of different sizes, two with one bright object, one without any."""
    images, targets = [], []
    for i, (height, width) in enumerate(((64, 96), (96, 64), (64, 64))):
        image = torch.rand(3, height, width, generator=torch.Generator().manual_seed(i)) * 0.3
        objects = torch.tensor([[8.0, 10, 48, 50]] if i < 2 else []).view(-1, 4)
        if i < 2:
            image[i, 10:50, 8:48] = 1
        images.append(image)
        targets.append({"boxes": objects, "labels": torch.full((len(objects),), i + 1)})
    return images, targets


def make(name: str) -> nn.Module:
    """Return one of the page's models, tiny, for images of these sizes."""
    torch.manual_seed(0)
    sizes = {"min_size": 64, "max_size": 96}
    if name == "RetinaNet":
        head = RetinaNetHead(WIDTH, 6, 3, norm_layer=lambda channels: nn.GroupNorm(4, channels))
        model: nn.Module = CLASSES["PaaRetinaNet"](Pyramid(), 3, anchor_generator=SIX, head=head, **sizes)
    elif name == "FCOS":
        model = CLASSES["PaaFCOS"](Pyramid(), 3, anchor_generator=ONE, **sizes)
    else:
        few = {"rpn_post_nms_top_n_train": 20, "rpn_post_nms_top_n_test": 20, "box_batch_size_per_image": 16}
        pool = MultiScaleRoIAlign(["0", "1", "2"], 2, 1)
        heads = {"box_head": nn.Sequential(nn.Flatten(), nn.Linear(4 * WIDTH, 64), nn.ReLU()), "box_roi_pool": pool}
        heads["box_predictor"] = Predictor()
        model = FasterRCNN(Pyramid(), rpn_anchor_generator=SIX, **heads, **few, **sizes)
        CLASSES["give_paa"](model)
    return model


class Predictor(nn.Module):
    """Scores and boxes of three classes and the background."""

    def __init__(self) -> None:
        super().__init__()
        self.scores, self.boxes = nn.Linear(64, 4), nn.Linear(64, 16)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.scores(x), self.boxes(x)


@pytest.mark.parametrize("name", ["RetinaNet", "FCOS", "Faster R-CNN"])
def test_it_trains_and_detects(name: str) -> None:
    """The losses fall, gradients are finite, and detections have torchvision's form."""
    model, (images, targets) = make(name), batch()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    history = []
    for _ in range(12):
        losses = model(images, [dict(target) for target in targets])
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        total.backward()
        gradients = [p.grad for p in model.parameters()]
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
        optimizer.step()
        history.append(float(total.detach()))
    assert history[-1] < 0.8 * history[0]
    model.eval()
    for found, image in zip(model(images), images):
        assert set(found) == {"boxes", "labels", "scores"}
        assert found["boxes"].shape == (len(found["labels"]), 4)
        assert (found["boxes"][:, 2:] <= torch.tensor(image.shape[:0:-1]) + 1e-3).all()
        assert (found["scores"].diff() <= 0).all()
    nothing = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}] * 3
    losses = model.train()(images, nothing)
    assert torch.stack(list(losses.values())).isfinite().all()


def anchors_of(generator: AnchorGenerator, height: int, width: int) -> tuple[Tensor, list[tuple[int, int]]]:
    """Return torchvision's anchors for an image, and the rows and columns of the levels."""
    sizes = [(height // stride, width // stride) for stride in STRIDES]
    features = [torch.zeros(1, 1, *size) for size in sizes]
    return generator(ImageList(torch.zeros(1, 3, height, width), [(height, width)]), features)[0], sizes


@pytest.mark.parametrize(("height", "width"), [(64, 96), (32, 32), (32, 96), (96, 32)])
def test_level_sizes(height: int, width: int) -> None:
    """Also where a level has one row, one column, or one cell."""
    for generator, number in ((ONE, 1), (SIX, 6)):
        anchors, sizes = anchors_of(generator, height, width)
        assert level_sizes(anchors, generator) == tuple((rows, columns * number) for rows, columns in sizes)
    ours = make_anchors(sizes, STRIDES, scale=4, offset=0)
    assert torch.equal(ours, anchors_of(ONE, height, width)[0])
    with pytest.raises(ValueError, match=r"0 anchors have the centre \(0, 0\), expected 3"):
        level_sizes(ours + 4, ONE)


def random_heads(generator: AnchorGenerator) -> tuple[dict[str, Tensor], Tensor, Targets]:
    """Return random predictions of a head for two images, their anchors, and objects in the first image."""
    torch.manual_seed(1)
    anchors, _ = anchors_of(generator, 64, 96)
    n = len(anchors)
    heads = {
        "cls_logits": torch.randn(2, n, 3) - 2,
        "bbox_regression": torch.randn(2, n, 4) * 0.3,
        "bbox_ctrness": torch.randn(2, n, 1),
    }
    boxes = torch.tensor([[4.0, 6, 40, 50], [30, 2, 90, 60], [50, 40, 70, 62]])
    objects = {"boxes": boxes, "labels": torch.tensor([2, 0, 1])}
    return heads, anchors, [objects, {name: values[:0] for name, values in objects.items()}]


def by_hand(
    heads: dict[str, Tensor], boxes: Tensor, anchors: Tensor, target: dict[str, Tensor], starts: list[int]
) -> Tensor:
    """Return PAA's assignment for the first image by torchvision's own losses of torchvision's own boxes."""
    truth, labels = target["boxes"], target["labels"]
    matches = match_anchors(anchors, truth[None], labels[None])
    own = matches[0].clamp(min=0)
    goal = nn.functional.one_hot(labels[own], heads["cls_logits"].shape[2]).float()
    cost = sigmoid_focal_loss(heads["cls_logits"][0], goal).sum(1) + generalized_box_iou_loss(boxes[0], truth[own])
    chosen, scores, count = candidates_per_object(cost[None], matches, len(truth), starts)
    positives = count_positives(scores[0], count[0])
    objects = torch.full((len(anchors),), -1)
    for each, (candidates, number) in enumerate(zip(chosen[0], positives.tolist())):
        objects[candidates[:number]] = each
    return objects


@pytest.mark.parametrize("generator", [ONE, SIX], ids=["one anchor", "six"])
def test_retinanets_assignment_is_paas(generator: AnchorGenerator) -> None:
    heads, anchors, targets = random_heads(generator)
    outputs = retinanet_outputs(heads, level_sizes(anchors, generator))
    coder = RetinaNet(Pyramid(), 3, anchor_generator=generator).box_coder
    boxes = torch.stack([coder.decode_single(deltas, anchors) for deltas in heads["bbox_regression"]])
    torch.testing.assert_close(decode(outputs.deltas, anchors), boxes)
    given = matched_idxs(outputs, anchors, targets)
    assert torch.equal(given[0], by_hand(heads, boxes, anchors, targets[0], outputs.level_starts()))
    assert set(given[0].tolist()) == {-1, 0, 1, 2}
    assert (given[1] == -1).all()
    assert torch.equal(torch.stack(given), assign(outputs, anchors, *pad_targets(targets)).objects(len(anchors)))


def test_fcos_assignment_is_paas() -> None:
    """Its boxes are the same by both codings, also empty ones, and the losses have gradients for all branches."""
    heads, anchors, targets = random_heads(ONE)
    heads["bbox_regression"] = heads["bbox_regression"].relu().requires_grad_()
    outputs = fcos_outputs(heads, level_sizes(anchors, ONE))
    coder = FCOS(Pyramid(), 3, anchor_generator=ONE).box_coder
    boxes = coder.decode(heads["bbox_regression"], anchors[None])
    torch.testing.assert_close(decode(outputs.deltas, anchors), boxes, rtol=1e-5, atol=1e-3)
    assert (boxes[..., 2] == boxes[..., 0]).any()
    given = matched_idxs(outputs, anchors, targets)
    assert torch.equal(given[0], by_hand(heads, boxes.detach(), anchors, targets[0], outputs.level_starts()))
    assert torch.equal(outputs.iou_logits, heads["bbox_ctrness"][..., 0])
    decode(outputs.deltas, anchors).sum().backward()
    assert heads["bbox_regression"].grad.isfinite().all()
    coded, heads["bbox_regression"].grad = heads["bbox_regression"].grad, None
    coder.decode(heads["bbox_regression"], anchors[None]).sum().backward()
    wide = (boxes[..., 2:] - boxes[..., :2] > 1e-3).all(-1)
    torch.testing.assert_close(coded[wide], heads["bbox_regression"].grad[wide], rtol=1e-3, atol=1e-3)


def test_a_proposal_networks_assignment_is_paas_of_one_class() -> None:
    """The targets are those of the same predictions with all objects of class 0."""
    heads, anchors, targets = random_heads(SIX)
    objectness, proposals = heads["cls_logits"][..., :1], decode(heads["bbox_regression"] * 5, anchors)
    outputs = proposal_outputs(proposals, objectness.flatten(), anchors, level_sizes(anchors, SIX))
    labels, boxes = proposal_targets(outputs, anchors, targets)
    one_class = {"boxes": targets[0]["boxes"], "labels": torch.zeros(3, dtype=torch.int64)}
    objects = by_hand({"cls_logits": objectness}, proposals, anchors, one_class, outputs.level_starts())
    assert torch.equal(labels[0], (objects >= 0).float())
    assert torch.equal(boxes[0][objects >= 0], targets[0]["boxes"][objects[objects >= 0]])
    assert (labels[1] == 0).all()
    assert boxes[1].shape == anchors.shape


def test_ignored_anchors_and_other_rules() -> None:
    """RetinaNet's own rule, given to its head by these functions, is that of torchvision's Matcher."""
    heads, anchors, targets = random_heads(SIX)
    outputs = retinanet_outputs(heads, level_sizes(anchors, SIX))
    given = matched_idxs(outputs, anchors, targets, HighestIouAssigner())
    assert (given[0] == -2).any()
    model = RetinaNet(Pyramid(), 3, anchor_generator=SIX)
    seen: list[list[Tensor]] = []
    model.head.compute_loss = lambda targets, heads, anchors, matched: seen.append(matched)  # type: ignore[method-assign]
    model.compute_loss(targets, heads, [anchors] * 2)
    assert torch.equal(given[0], seen[0][0])
    assert (given[1] < 0).all()
    labels, _ = proposal_targets(outputs, anchors, targets, HighestIouAssigner())
    assert torch.equal(labels[0] == -1, given[0] == -2)


def test_targets_without_objects() -> None:
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    boxes, labels = pad_targets([nothing, nothing])
    assert boxes.shape == (2, 1, 4)
    assert labels.tolist() == [[-1], [-1]]
    boxes, labels = pad_targets([nothing, {"boxes": torch.ones(2, 4), "labels": torch.tensor([3, 0])}])
    assert labels.tolist() == [[-1, -1], [3, 0]]
    assert pad_targets([{"boxes": torch.ones(2, 4)}], class_agnostic=True)[1].tolist() == [[0, 0]]
    outputs = HeadOutputs(torch.zeros(2, 4, 3), torch.zeros(2, 4, 4), torch.zeros(2, 4), ((2, 2),))
    given = matched_idxs(outputs, torch.ones(4, 4), [nothing, nothing], PaaAssigner())
    assert torch.equal(torch.stack(given), torch.full((2, 4), -1))
