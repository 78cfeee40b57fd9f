"""timm's weights, from a file and by name, without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

import paa
from paa.config import IMAGENET_MEAN, IMAGENET_STD, ModelConfig
from paa.errors import CheckpointError, ConfigError
from paa.model.detector import Detector
from paa.weights.formats import timm as timm_models
from paa.weights.read import read_start
from paa.weights.start import load_start, starting_model
from paa.weights.state import BackboneWeights, Checkpoint

NAME = "convnext_atto"
ASKED = ModelConfig(backbone=f"timm/{NAME}", channels=16, tower_depth=1)
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    torch.manual_seed(0)
    filled: State = timm.create_model(NAME).state_dict()
    return {name: torch.randn_like(tensor) * 0.02 for name, tensor in filled.items()}


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leave the hub's client without a network and with an empty cache."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def names_in_a_detector(state: State) -> dict[str, str]:
    """Return our name -> timm's name of the tensors of c3 to c5, which are those of timm's own feature extractor."""
    kept = timm.create_model(NAME, features_only=True, feature_cls="getter").state_dict()
    return {f"body.{name}": name.removeprefix("model.") for name in kept}


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_starts_the_model_that_is_asked_for(tmp_path: Path, state: State, suffix: str) -> None:
    path = tmp_path / f"weights.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    weights = read_start(str(path), f"timm/{NAME}")
    assert isinstance(weights, BackboneWeights)
    assert weights.source == str(path)
    assert weights.fields["backbone"] == f"timm/{NAME}"
    assert weights.fields["mean"] == pytest.approx(IMAGENET_MEAN, abs=1e-3)
    assert weights.fields["std"] == pytest.approx(IMAGENET_STD, abs=1e-3)
    assert weights.fields["bgr"] is False
    places = names_in_a_detector(state)
    assert set(weights.tensors) == set(places)
    assert all(torch.equal(weights.tensors[ours], state[theirs]) for ours, theirs in places.items())
    assert set(weights.dropped) == set(state) - set(places.values())
    assert all(name.startswith("head.") for name in weights.dropped)

    config, changed = starting_model(weights, ASKED)
    assert set(changed) <= {"mean", "std"}
    detector = Detector(config, ("cat",)).eval()
    lines = load_start(detector, weights)
    assert lines[0] == f"the backbone starts from {path}; the pyramid and the head start fresh"
    own = detector.backbone.state_dict()
    assert all(torch.equal(own[ours], state[theirs]) for ours, theirs in places.items())
    assert set(own) == set(places)
    whole = timm.create_model(NAME)
    whole.load_state_dict(state)
    x = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        c5 = whole.eval().stages(whole.stem(x))
        torch.testing.assert_close(detector.backbone(x)[2], c5, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tag", ["", ".d2_in1k"])
def test_weights_by_name_are_what_timm_fetches(monkeypatch: pytest.MonkeyPatch, state: State, tag: str) -> None:
    asked: list[Any] = []

    def fetched(source: Any, *_: Any, **__: Any) -> State:
        asked.append(source)
        return dict(state)

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", fetched)
    weights = read_start(f"timm/{NAME}{tag}", "resnet50")
    assert isinstance(weights, BackboneWeights)
    assert ["convnext_atto.d2_in1k" in str(source) for source in asked] == [True]
    assert weights.source == f"timm/{NAME}{tag}"
    assert weights.fields["backbone"] == f"timm/{NAME}{tag}"
    assert all(torch.equal(weights.tensors[ours], state[name]) for ours, name in names_in_a_detector(state).items())
    detector = Detector(starting_model(weights, ASKED)[0], ("cat",))
    load_start(detector, weights)


def test_statistics_of_batch_norm_are_copied(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm.create_model("resnet18", num_classes=1000)
    network.train()(torch.randn(2, 3, 64, 64))
    torch.save(network.state_dict(), tmp_path / "a.pth")
    for norm in ("frozen", "batch"):
        asked = ModelConfig(backbone="timm/resnet18", norm=norm, channels=16, tower_depth=1)  # type: ignore[arg-type]
        weights = read_start(str(tmp_path / "a.pth"), asked.backbone)
        detector = Detector(starting_model(weights, asked)[0], ("cat",)).eval()
        load_start(detector, weights)
        x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            c5 = network.eval().forward_features(x)
            torch.testing.assert_close(detector.backbone(x)[2], c5, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", [NAME, f"{NAME}.d2_in1k", "resnet18"])
def test_without_a_network_it_is_one_line(name: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_start(f"timm/{name}", "resnet50")
    message = str(caught.value)
    assert message.startswith(f"timm/{name}: no weights of timm/{name}: ")
    assert "\n" not in message
    assert len(message) < 300


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("convnext_nano2", "timm has no model 'convnext_nano2'; similar names: convnext_"),
        ("convnext_atto.no_such_tag", "no_such_tag"),
        ("hf-hub:someone/something", "timm has no model"),
    ],
)
@pytest.mark.usefixtures("no_network")
def test_models_that_timm_does_not_have(name: str, says: str) -> None:
    with pytest.raises((CheckpointError, ConfigError), match=says) as caught:
        read_start(f"timm/{name}", "resnet50")
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    "change",
    [
        lambda state: timm.create_model("convnext_femto").state_dict(),
        lambda state: timm.create_model("resnet18").state_dict(),
        lambda state: {name: tensor for name, tensor in state.items() if name != "stages.2.blocks.0.norm.bias"},
        lambda state: {**state, "stages.2.blocks.0.norm.bias": torch.zeros(3)},
        lambda state: {**state, "mystery": torch.zeros(3)},
        lambda state: {**state, "stages.2.blocks.0.norm.bias": "text"},
        lambda state: {},
        lambda state: {"epoch": 3},
    ],
    ids=["wider", "another", "missing", "misshapen", "left over", "a text", "empty", "no tensors"],
)
def test_files_of_something_else_are_one_line(tmp_path: Path, state: State, change: Any) -> None:
    """Nothing is fetched instead."""
    torch.save(change(state), tmp_path / "odd.pth")
    with pytest.raises(CheckpointError) as caught:
        read_start(str(tmp_path / "odd.pth"), f"timm/{NAME}")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'odd.pth'}: ")
    assert "\n" not in message
    assert len(message) < len(str(tmp_path)) + 300
    for word in ("huggingface", "offline", "hub", "connect"):
        assert word not in message.replace(str(tmp_path), "").lower()


def test_weights_that_are_not_finite(tmp_path: Path, state: State) -> None:
    torch.save({**state, "stem.0.bias": torch.full_like(state["stem.0.bias"], float("nan"))}, tmp_path / "a.pth")
    weights = read_start(str(tmp_path / "a.pth"), f"timm/{NAME}")
    with pytest.raises(CheckpointError, match=r"body\.model\.stem[._]0\.bias is not finite"):
        load_start(Detector(starting_model(weights, ASKED)[0], ("cat",)), weights)


def test_the_model_must_be_named(tmp_path: Path, state: State) -> None:
    torch.save(state, tmp_path / "a.pth")
    for read in (lambda: read_start(str(tmp_path / "a.pth"), "resnet50"), lambda: paa.load(tmp_path / "a.pth")):
        with pytest.raises(
            CheckpointError, match=r"a\.pth: in none of the known formats \(.*--model\.backbone timm/NAME$"
        ):
            read()


def test_a_model_that_asks_for_another_follows_the_weights(state: State) -> None:
    weights = timm_models.read(Checkpoint("a.pth", state, timm_name=NAME))
    config, changed = starting_model(weights, ModelConfig(backbone="resnet50"))
    assert config.backbone == f"timm/{NAME}"
    assert changed["backbone"] == ("resnet50", f"timm/{NAME}")
    with pytest.raises(ConfigError, match=rf"a\.pth: holds a model with backbone timm/{NAME}, not resnet50"):
        starting_model(weights, ModelConfig(backbone="resnet50"), chosen=("backbone",))
