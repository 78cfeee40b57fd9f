"""Training code that was written for torchvision's models runs with PAA in the place of one."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights, ResNet101_Weights, resnet50
from torchvision.models.detection import fcos_resnet50_fpn

import paa
from paa import torchvision_detector
from paa.config import ModelConfig
from paa.core import Assignment, LossWeights, PaaAssigner
from paa.data.transforms import resize
from paa.errors import AnnotationError, CheckpointError, ConfigError, ImageError
from tests.conftest import MODEL

NAMES = ("background", "square", "bar")
SIZES = ((60, 90), (64, 64))


def tiny(**changes: Any) -> paa.PAA:
    torch.manual_seed(0)
    return paa.PAA(ModelConfig(**{**vars(MODEL), "norm": "batch", **changes}), NAMES)


def batch() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Two images of two sizes, one bright object in each, as torchvision's transforms give them."""
    images, targets = [], []
    for label, (height, width) in enumerate(SIZES, 1):
        image = torch.rand(3, height, width, generator=torch.Generator().manual_seed(label)) * 0.3
        image[label, 10:50, 8:48] = 1
        images.append(image)
        targets.append({"boxes": torch.tensor([[8.0, 10, 48, 50]]), "labels": torch.tensor([label])})
    return images, targets


def train_one_epoch(
    model: nn.Module, optimizer: torch.optim.Optimizer, data: Any, device: torch.device
) -> list[dict[str, float]]:
    """The loop of torchvision's references/detection/engine.py, without its printing."""
    model.train()
    history = []
    for images, targets in data:
        images = [image.to(device) for image in images]
        targets = [{k: v.to(device) if isinstance(v, Tensor) else v for k, v in t.items()} for t in targets]
        loss_dict = model(images, targets)
        losses = sum(loss for loss in loss_dict.values())
        optimizer.zero_grad()
        losses.backward()
        optimizer.step()
        history.append({name: loss.item() for name, loss in loss_dict.items()})
    return history


@torch.inference_mode()
def evaluate(model: nn.Module, data: Any, device: torch.device) -> list[dict[str, Tensor]]:
    """As there: detections on the CPU, which its COCO evaluator takes."""
    model.eval()
    outputs = []
    for images, _ in data:
        found = model([image.to(device) for image in images])
        outputs += [{k: v.to(torch.device("cpu")) for k, v in t.items()} for t in found]
    return outputs


@pytest.mark.parametrize("kind", ["fcos_resnet50_fpn", "paa"])
def test_torchvisions_reference_loop_runs(kind: str) -> None:
    torch.manual_seed(0)
    if kind == "paa":
        model: nn.Module = paa.TorchvisionDetector(tiny())
    else:
        model = fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=3, min_size=64, max_size=96)
    data, device = [batch()] * 6, torch.device("cpu")
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    history = train_one_epoch(model, optimizer, data, device)
    assert sum(history[-1].values()) < sum(history[0].values())
    outputs = evaluate(model, data[:1], device)
    assert len(outputs) == 2
    for found, (height, width) in zip(outputs, SIZES):
        assert set(found) == {"boxes", "labels", "scores"}
        assert found["boxes"].shape == (len(found["labels"]), 4)
        assert found["boxes"].dtype == found["scores"].dtype == torch.float32
        assert found["labels"].dtype == torch.int64
        assert (found["scores"].diff() <= 0).all()
        assert (found["boxes"][:, 2:] <= torch.tensor([width, height]) + 1e-3).all()


def test_it_learns_to_detect() -> None:
    model = paa.TorchvisionDetector(tiny())
    data = [batch()] * 40
    train_one_epoch(model, torch.optim.AdamW(model.parameters(), lr=3e-3), data, torch.device("cpu"))
    model.eval()
    for found, target in zip(model(data[0][0]), data[0][1]):
        assert found["labels"][0] == target["labels"][0]
        torch.testing.assert_close(found["boxes"][0], target["boxes"][0], rtol=0, atol=6)


def test_detections_are_those_of_predict(checkpoint: Path) -> None:
    model = paa.load(checkpoint, "cpu")
    detector = paa.TorchvisionDetector(model).eval()
    images, _ = batch()
    for given in (images, [(image * 255).to(torch.uint8) for image in images]):
        found, expected = detector(given), model.predict(given)
        for ours, theirs in zip(found, expected, strict=True):
            assert len(theirs) > 0
            for name in ("boxes", "labels", "scores"):
                assert torch.equal(ours[name], torch.from_numpy(getattr(theirs, name)))
    assert detector([]) == []
    given = detector(images, [{}, {}])  # targets play no part, as in torchvision
    assert torch.equal(given[0]["boxes"], detector(images)[0]["boxes"])


@pytest.mark.parametrize("legacy", [False, True])
def test_the_losses_are_those_of_the_resized_batch(legacy: bool) -> None:
    """Images and boxes are resized as training and prediction resize them."""
    model = tiny(min_size=32, legacy=legacy)
    images, targets = batch()
    losses = paa.TorchvisionDetector(copy.deepcopy(model))(images, targets)
    resized = [
        resize((i * 255).round().to(torch.uint8), t["boxes"], size, legacy)
        for i, t, size in zip(images, targets, ((32, 48), (32, 32)))
    ]
    padded = torch.zeros(2, 3, 32, 64, dtype=torch.uint8)
    for canvas, (image, _) in zip(padded, resized):
        canvas[:, : image.shape[1], : image.shape[2]] = image
    outputs = model(padded, torch.tensor([[32, 48], [32, 32]]))
    boxes = torch.stack([boxes for _, boxes in resized])
    expected = paa.paa_losses(outputs, model.anchors(outputs), boxes, torch.tensor([[1], [2]]), legacy=legacy).losses
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)


def test_images_without_objects_are_ordinary_input() -> None:
    model = paa.TorchvisionDetector(tiny())
    images, targets = batch()
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    for given in ([targets[0], empty], [empty, empty]):
        losses = model(images, given)
        sum(losses.values()).backward()
        assert all(torch.isfinite(loss) for loss in losses.values())


def test_inputs_stay_as_they_are() -> None:
    images, targets = batch()
    before = copy.deepcopy((images, targets))
    paa.TorchvisionDetector(tiny())(images, targets)
    assert all(torch.equal(a, b) for a, b in zip(images, before[0], strict=True))
    assert all(torch.equal(a[k], b[k]) for a, b in zip(targets, before[1]) for k in a)


def test_rule_and_weights_are_handed_on() -> None:
    def nothing(outputs: Any, *given: Any) -> Assignment:
        assignment = PaaAssigner()(outputs, *given)
        return assignment._replace(num_positives=torch.zeros_like(assignment.num_positives))

    images, targets = batch()
    plain = paa.TorchvisionDetector(tiny())(images, targets)
    assert paa.TorchvisionDetector(tiny(), assigner=nothing)(images, targets)["box"] == 0
    doubled = paa.TorchvisionDetector(tiny(), loss_weights=LossWeights(box=2.6))(images, targets)
    torch.testing.assert_close(doubled["box"], 2 * plain["box"])


def test_several_processes_share_the_normalisers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the other process had found nothing."""
    images, targets = batch()
    plain = paa.TorchvisionDetector(tiny())(images, targets)
    monkeypatch.setattr(torchvision_detector.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(torchvision_detector.dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(torchvision_detector.dist, "all_reduce", lambda values: values)
    shared = paa.TorchvisionDetector(tiny())(images, targets)
    for name, value in plain.items():
        torch.testing.assert_close(shared[name], 2 * value)


IMAGE, BOX, LABEL = torch.zeros(3, 64, 64), torch.tensor([[1.0, 2, 30, 40]]), torch.tensor([1])
GOOD = {"boxes": BOX, "labels": LABEL}
WRONG: dict[str, tuple[Any, Any, type[Exception], str]] = {
    "no targets": ([IMAGE], None, AnnotationError, "training mode needs targets; call model.eval() for detections"),
    "no image": ([], [], ImageError, "a training step needs at least one image"),
    "too few": ([IMAGE, IMAGE], [GOOD], AnnotationError, "2 images, but 1 targets: one is needed for each image"),
    "grey": ([IMAGE[:1]], [GOOD], ImageError, "images[0] must be a tensor (3, H, W), got shape (1, 64, 64)"),
    "a path": (["a.jpg"], [GOOD], ImageError, "images[0] must be a tensor (3, H, W), got str"),
    "integers": (
        [IMAGE.int()],
        [GOOD],
        ImageError,
        "images[0] must hold floats from 0 to 1, or uint8, got torch.int32",
    ),
    "bytes as floats": ([IMAGE + 255], [GOOD], ImageError, "images[0] must hold floats from 0 to 1, got 255 to 255"),
    "keys": (
        [IMAGE, IMAGE],
        [GOOD, {"bbox": BOX, "labels": LABEL}],
        AnnotationError,
        "targets[1] must have a tensor 'boxes'; its keys are: bbox, labels",
    ),
    "a list of labels": (
        [IMAGE],
        [{"boxes": BOX, "labels": [1]}],
        AnnotationError,
        "targets[0]['labels'] must be a tensor, got list",
    ),
    "no dictionary": ([IMAGE], [BOX], AnnotationError, "targets[0] must be a dictionary, got Tensor"),
    "one box": (
        [IMAGE],
        [{"boxes": BOX[0], "labels": LABEL}],
        AnnotationError,
        "targets[0]['boxes'] must be of shape (n, 4), got (4,)",
    ),
    "labels": (
        [IMAGE],
        [{"boxes": BOX, "labels": torch.tensor([1.0, 2.0])}],
        AnnotationError,
        "targets[0]['labels'] must be 1 integers, as there are 1 boxes, got shape (2,) of torch.float32",
    ),
    "width and height": (
        [IMAGE],
        [{"boxes": torch.tensor([[1.0, 2, 30, 40], [20, 20, 5, 5]]), "labels": torch.tensor([1, 1])}],
        AnnotationError,
        "targets[0]['boxes'][1] must be x1, y1, x2, y2 in pixels with x1 < x2 and y1 < y2, got [20.0, 20.0, 5.0, 5.0]",
    ),
    "not a number": (
        [IMAGE],
        [{"boxes": torch.tensor([[1.0, torch.nan, 30, 40]]), "labels": LABEL}],
        AnnotationError,
        "targets[0]['boxes'][0] must be x1, y1, x2, y2 in pixels with x1 < x2 and y1 < y2, got [1.0, nan, 30.0, 40.0]",
    ),
    "class": (
        [IMAGE],
        [{"boxes": BOX, "labels": torch.tensor([3])}],
        AnnotationError,
        "targets[0]['labels'][0] must be from 0 to 2 in a model of 3 classes, got 3",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_say_what_was_expected_and_what_was_given(case: str) -> None:
    images, targets, error, message = WRONG[case]
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        paa.TorchvisionDetector(tiny())(images, targets)


def frozen(model: paa.PAA) -> list[bool]:
    """Return which of the backbone's layers are not trained."""
    return [not any(p.requires_grad for p in stage.parameters()) for stage in model.backbone.stages()]


def test_a_new_resnet50(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = paa.paa_resnet50_fpn(weights_backbone=None, num_classes=3, min_size=64, max_size=96)
    assert model.training
    assert not any(frozen(model.model))
    assert (model.model.config.min_size, model.model.config.max_size, model.model.config.norm) == (64, 96, "batch")
    assert len(model.model.names) == 3
    file = tmp_path / "resnet50.pth"
    torch.save(resnet50(weights=None).state_dict(), file)
    started = paa.paa_resnet50_fpn(weights_backbone=file).model
    assert len(started.names) == 91
    assert torch.equal(started.backbone.state_dict()["conv1.weight"], torch.load(file)["conv1.weight"])
    assert frozen(started) == [True, True, False, False, False]  # torchvision's default: three layers are trained
    assert started.config.norm == "frozen"
    for layers in (0, 5):
        model = paa.paa_resnet50_fpn(weights_backbone=file, trainable_backbone_layers=layers)
        assert sum(frozen(model.model)) == 5 - layers


def test_torchvisions_own_weights_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def read(source: str, backbone: str) -> Any:
        asked.append((source, backbone))
        raise CheckpointError("no network")

    monkeypatch.setattr(torchvision_detector, "read_start", read)
    for given in ({}, {"weights_backbone": ResNet50_Weights.IMAGENET1K_V2}):
        with pytest.raises(CheckpointError):
            paa.paa_resnet50_fpn(**given)
    assert asked == [(f"torchvision/resnet50.IMAGENET1K_{version}", "resnet50") for version in ("V1", "V2")]


def test_a_checkpoint_goes_on_training(checkpoint: Path) -> None:
    expected = paa.load(checkpoint, "cpu")
    model = paa.paa_resnet50_fpn(weights=checkpoint, num_classes=len(expected.names))
    assert model.training
    assert model.model.names == expected.names
    assert frozen(model.model)[:2] == [True, True]
    images, _ = batch()
    assert torch.equal(model.eval()(images)[0]["boxes"], torch.from_numpy(expected.predict(images)[0].boxes))
    few = paa.paa_resnet50_fpn(weights=checkpoint, score_thresh=0.4, nms_thresh=0.5, detections_per_img=3).eval()
    found, same = few(images)[0], expected.predict(images[0], threshold=0.4, nms_iou=0.5, limit=3)
    assert 0 < len(same) <= 3
    assert torch.equal(found["boxes"], torch.from_numpy(same.boxes))
    with pytest.raises(ConfigError, match=f"has {len(expected.names)} classes, but num_classes is 91"):
        paa.paa_resnet50_fpn(weights=checkpoint, num_classes=91)
    with pytest.raises(ConfigError, match="trainable_backbone_layers must be from 0 to 5, got 6"):
        paa.paa_resnet50_fpn(weights=checkpoint, trainable_backbone_layers=6)
    with pytest.raises(ConfigError, match=r"min_size must be a whole number, got \(640, 800\)"):
        paa.paa_resnet50_fpn(weights_backbone=None, min_size=(640, 800))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="num_classes must be a whole number from 1 on, got '3'"):
        paa.paa_resnet50_fpn(weights_backbone=None, num_classes="3")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"must be of a ResNet-50, got ResNet101_Weights\.IMAGENET1K_V2"):
        paa.paa_resnet50_fpn(weights_backbone=ResNet101_Weights.DEFAULT)
    with pytest.raises(ConfigError, match="min_size must be from 1 to 10000, got 0"):
        paa.paa_resnet50_fpn(weights_backbone=None, min_size=0)


def test_its_state_is_saved_and_loaded() -> None:
    one, other = paa.TorchvisionDetector(tiny()), paa.TorchvisionDetector(tiny())
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.add_(0.01)
    other.load_state_dict(one.state_dict())
    images, _ = batch()
    for ours, theirs in zip(one.eval()(images), other.eval()(images)):
        assert torch.equal(ours["boxes"], theirs["boxes"])


def test_what_is_no_model_or_rule_is_said_first() -> None:
    with pytest.raises(ConfigError, match=r"model must be a PAA model, as paa\.load returns it, got 'last\.pt'"):
        paa.TorchvisionDetector("last.pt")  # type: ignore[arg-type]
    for rule in ("atss", PaaAssigner):
        with pytest.raises(ConfigError, match=r"assigner must be a rule, as paa\.assigners\.AtssAssigner\(\), got "):
            paa.TorchvisionDetector(tiny(), assigner=rule)  # type: ignore[arg-type]
