"""torchvision's weights, from a file and by name, without a network."""

from __future__ import annotations

import pickle
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor

import paa
from paa.config import CAFFE_MEAN, IMAGENET_MEAN, IMAGENET_STD, ModelConfig
from paa.errors import CheckpointError, ConfigError
from paa.model.detector import Detector
from paa.recipes import RECIPES
from paa.weights.formats import caffe2, mmdet, official, seed
from paa.weights.formats import torchvision as torchvision_models
from paa.weights.read import read_start
from paa.weights.start import load_start, starting_model
from paa.weights.state import BackboneWeights, Checkpoint, check_fit

FIELDS = {"norm_eps": 1e-5, "stride_in_1x1": False, "mean": IMAGENET_MEAN, "std": IMAGENET_STD, "bgr": False}


@pytest.fixture(scope="module")
def network() -> torchvision.models.ResNet:
    """Return a ResNet-18 whose norms have updated statistics."""
    torch.manual_seed(0)
    model = torchvision.models.resnet18()
    model.train()(torch.randn(2, 3, 64, 64))
    return model.eval()


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the folder of torch's cache; downloads fail."""

    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("how", ["pth", "safetensors", "without its classifier"])
def test_a_file_starts_a_model(tmp_path: Path, network: torchvision.models.ResNet, how: str) -> None:
    state = network.state_dict()
    if how.startswith("without"):
        state = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    path = tmp_path / ("weights.safetensors" if how == "safetensors" else "weights.pth")
    save_file(state, path) if how == "safetensors" else torch.save(state, path)
    weights = read_start(str(path), "resnet50")
    assert isinstance(weights, BackboneWeights)
    assert weights.fields == {"backbone": "resnet18", **FIELDS}
    assert sorted(weights.dropped) == ([] if how.startswith("without") else ["fc.bias", "fc.weight"])
    asked = ModelConfig(backbone="resnet50", norm="batch", channels=16, tower_depth=1, mean=CAFFE_MEAN, bgr=True)
    config, changed = starting_model(weights, asked)
    assert set(changed) == {"backbone", "mean", "bgr"}
    assert changed["backbone"] == ("resnet50", "resnet18")
    detector = Detector(config, ("cat",)).eval()
    load_start(detector, weights)
    own = detector.backbone.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in state.items() if name in own)
    assert [name for name in own if name not in state] == []


@pytest.mark.parametrize("norm", ["frozen", "affine", "batch"])
def test_the_backbone_computes_the_same_as_torchvisions(network: torchvision.models.ResNet, norm: Any) -> None:
    weights = torchvision_models.read(Checkpoint("file", network.state_dict()))
    config, _ = starting_model(weights, ModelConfig(norm=norm, channels=16, tower_depth=1))
    detector = Detector(config, ("cat",)).eval()
    load_start(detector, weights)
    x = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        c3, c4, c5 = detector.backbone(x)
        y = network.maxpool(network.relu(network.bn1(network.conv1(x))))
        for layer, ours in ((network.layer1, None), (network.layer2, c3), (network.layer3, c4), (network.layer4, c5)):
            y = layer(y)
            if ours is not None:
                torch.testing.assert_close(ours, y, rtol=1e-4, atol=1e-4)


KNOWN = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext101_32x8d", "resnext101_64x4d"]


@pytest.mark.parametrize("name", KNOWN)
def test_every_architecture_is_known_from_its_tensors(name: str) -> None:
    with torch.device("meta"):
        state = torchvision.models.get_model(name).state_dict()
    file = Checkpoint("file", state)
    assert torchvision_models.recognises(file)
    assert not any(other.recognises(file) for other in (seed, official, mmdet, caffe2))
    weights = torchvision_models.read(file)
    assert weights.fields == {"backbone": name, **FIELDS}
    with torch.device("meta"):
        own = Detector(starting_model(weights, ModelConfig(norm="batch"))[0], ("cat",)).backbone.state_dict()
    check_fit(own, weights.tensors, "file")
    assert set(own) == set(weights.tensors) == set(state) - {"fc.weight", "fc.bias"}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("resnext50_32x4d", "a ResNet of 3-4-6-3 blocks of 32 groups x 4, none of resnet18"),
        ("wide_resnet50_2", "a ResNet of 3-4-6-3 blocks"),
    ],
)
def test_resnets_that_no_detector_has(name: str, says: str) -> None:
    with torch.device("meta"):
        state = torchvision.models.get_model(name).state_dict()
    with pytest.raises(ConfigError, match=says):
        torchvision_models.read(Checkpoint("file", state))


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("resnet18", "resnet18-f37072fd.pth"),
        ("resnet18.DEFAULT", "resnet18-f37072fd.pth"),
        ("resnet18.IMAGENET1K_V1", "resnet18-f37072fd.pth"),
    ],
)
def test_weights_by_name_are_read_from_torchs_cache(
    no_network: Path, network: torchvision.models.ResNet, name: str, file: str
) -> None:
    torch.save(network.state_dict(), no_network / file)
    weights = read_start(f"torchvision/{name}", "resnet50")
    assert isinstance(weights, BackboneWeights)
    assert weights.source == "torchvision/resnet18.IMAGENET1K_V1"
    assert weights.fields == {"backbone": "resnet18", **FIELDS}
    state = network.state_dict()
    assert set(weights.tensors) == set(state) - {"fc.weight", "fc.bias"}
    assert all(torch.equal(tensor, state[inside]) for inside, tensor in weights.tensors.items())


def test_the_set_of_weights_is_the_one_that_is_named(no_network: Path) -> None:
    """Each of the two sets of an architecture is looked for under its own name."""
    sets = torchvision.models.ResNet50_Weights
    files = {each.name: each.url.rsplit("/", 1)[1] for each in sets}
    assert len(set(files.values())) == 2
    for file in files.values():
        torch.save({"conv1.weight": torch.zeros(1)}, no_network / file)
    for chosen, file in files.items():
        (no_network / file).unlink()
        with pytest.raises(CheckpointError, match=rf"torchvision/resnet50\.{chosen}: cannot be fetched"):
            torchvision_models.fetch(f"resnet50.{chosen}")
        torch.save({"conv1.weight": torch.zeros(1)}, no_network / file)
    assert sets.DEFAULT is sets.IMAGENET1K_V2
    (no_network / files["IMAGENET1K_V2"]).unlink()
    with pytest.raises(CheckpointError, match=r"torchvision/resnet50\.IMAGENET1K_V2: cannot be fetched"):
        torchvision_models.fetch("resnet50")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("resnet51", "no such weights; known: resnet18, resnet34, resnet50, resnet101, resnet152, resnext101_32x8d, "),
        ("vgg16", "no such weights; known: resnet18"),
        ("resnext152_32x8d", "no such weights; known: resnet18"),
        ("", "no such weights"),
        ("resnet50.V3", "no such weights; resnet50 has IMAGENET1K_V1, IMAGENET1K_V2"),
        ("resnext101_64x4d.IMAGENET1K_V2", "no such weights; resnext101_64x4d has IMAGENET1K_V1"),
        ("resnet34.IMAGENET1K_V1", "cannot be fetched (<urlopen error no network in tests>)"),
    ],
)
@pytest.mark.usefixtures("no_network")
def test_weights_that_do_not_exist_or_cannot_be_fetched(name: str, says: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        torchvision_models.fetch(name)
    assert str(caught.value).startswith(f"torchvision/{name}: {says}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data", [b"", b"<html>", b"PK\x03\x04 cut", pickle.dumps({1: 2}, 2), pickle.dumps([1], 2)[:-3]]
)
def test_a_damaged_file_in_the_cache_is_one_line(no_network: Path, data: bytes) -> None:
    (no_network / "resnet18-f37072fd.pth").write_bytes(data)
    with pytest.raises(CheckpointError) as caught:
        read_start("torchvision/resnet18", "resnet18")
    assert str(caught.value).startswith("torchvision/resnet18.IMAGENET1K_V1: ")
    assert "\n" not in str(caught.value)


def test_a_file_of_that_name_takes_precedence(
    tmp_path: Path, network: torchvision.models.ResNet, no_network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torchvision").mkdir()
    torch.save(network.state_dict(), tmp_path / "torchvision" / "resnet18")
    monkeypatch.chdir(tmp_path)
    assert read_start("torchvision/resnet18", "resnet18").fields["backbone"] == "resnet18"  # type: ignore[union-attr]
    assert list(no_network.iterdir()) == []


def test_a_backbone_is_no_detector(tmp_path: Path, network: torchvision.models.ResNet) -> None:
    torch.save(network.state_dict(), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth: a backbone alone \(resnet18\); paa train --init starts"):
        paa.load(tmp_path / "a.pth")


def test_a_damaged_network_is_named(network: torchvision.models.ResNet) -> None:
    state: dict[str, Tensor] = dict(network.state_dict())
    del state["layer3.1.bn2.running_var"]
    state["layer2.0.conv1.weight"] = torch.zeros(3)
    weights = torchvision_models.read(Checkpoint("some.pth", state))
    detector = Detector(starting_model(weights, RECIPES["r18_nano"].model)[0], ("cat",))
    with pytest.raises(CheckpointError) as caught:
        load_start(detector, weights)
    assert str(caught.value) == (
        "some.pth: tensors do not fit the model: 1 missing (layer3.1.bn2.running_var); "
        "1 misshapen (layer2.0.conv1.weight)"
    )
