"""What makes a detector fast leaves what it says as it is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import paa
from paa.config import ModelConfig
from paa.core.losses import paa_losses
from paa.core.outputs import HeadOutputs
from paa.errors import CheckpointError
from paa.model import prepare as speed
from paa.model.cpu.winograd import WinogradConv2d
from paa.model.detector import Detector
from paa.model.prepare import arrange, compile_network, resolve_precision
from paa.predictor import PAA
from paa.runtime.device import has_bfloat16
from paa.runtime.distributed import Process
from paa.training.settings import TrainConfig
from paa.training.train import train

CPU = torch.device("cpu")

TINY = {"channels": 16, "tower_depth": 1}
MODELS = {
    "resnet18, frozen": ModelConfig(backbone="resnet18", **TINY),
    "resnet18, batch": ModelConfig(backbone="resnet18", norm="batch", **TINY),
    "resnet50, affine": ModelConfig(norm="affine", **TINY),
    "resnet50, deformable": ModelConfig(dcn_stages=(5,), tower_dcn=True, **TINY),
}


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    images = torch.randint(256, (2, 3, 64, 96), generator=random, dtype=torch.uint8)
    return images, torch.tensor([[64, 96], [50, 80]])


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> PAA:
    """A detector whose batch norms have statistics of their own, in float64 so that no rounding can hide a mistake."""
    torch.manual_seed(0)
    model = PAA(MODELS[request.param], ("a", "b"))
    for name, tensor in model.named_buffers():
        if "running" in name:
            tensor.uniform_(0.5, 1.5)
    return model.double().eval()


def largest_difference(ours: HeadOutputs, theirs: HeadOutputs) -> float:
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours[:3], theirs[:3]))


def test_optimise_changes_nothing(model: PAA, batch: tuple[Tensor, Tensor], monkeypatch: Any) -> None:
    monkeypatch.setattr(Tensor, "float", Tensor.double)  # `normalise` makes the bytes float32
    with torch.inference_mode():
        expected = model(*batch)
        assert model.optimise("float32") is model
        assert largest_difference(model(*batch), expected) < 1e-12
    norms = [name for name, m in model.named_modules() if isinstance(m, (torch.nn.BatchNorm2d, paa_norm()))]
    assert all("layer4" in name for name in norms)  # of deformable convolutions
    assert not any(p.requires_grad for p in model.parameters())


def paa_norm() -> type:
    from paa.model.backbone import FrozenBatchNorm

    return FrozenBatchNorm


def test_an_optimised_model_is_not_saved(tmp_path: Path, checkpoint: Path) -> None:
    model = paa.load(checkpoint, "cpu").optimise()
    for path in (tmp_path / "model.safetensors", tmp_path / "folder"):
        with pytest.raises(CheckpointError, match="an optimised model cannot be saved; save it before `optimise`"):
            model.save(path) if path.suffix else model.save_pretrained(path)
    assert not (tmp_path / "model.safetensors").exists()


def test_optimised_predictions_are_the_models(checkpoint: Path, shapes: Path) -> None:
    sources = sorted((shapes / "images").iterdir())[:3]
    plain, fast = paa.load(checkpoint, "cpu"), paa.load(checkpoint, "cpu").optimise("float32")
    for ours, expected in zip(fast.predict(sources), plain.predict(sources), strict=True):
        assert len(expected) > 10
        assert ours.labels.tolist() == expected.labels.tolist()
        assert abs(ours.scores - expected.scores).max() < 1e-5
        assert abs(ours.boxes - expected.boxes).max() < 0.01


def test_optimised_predictions_in_bfloat16(checkpoint: Path, shapes: Path) -> None:
    source = next((shapes / "images").iterdir())
    plain, fast = paa.load(checkpoint, "cpu"), paa.load(checkpoint, "cpu").optimise("bfloat16")
    ours, expected = fast.predict(source), plain.predict(source)
    assert abs(ours.scores[:10] - expected.scores[:10]).max() < 0.05
    assert (ours.scores[:10] != expected.scores[:10]).any()


def test_a_model_is_arranged_when_it_is_loaded_and_saved_as_ever(tmp_path: Path, checkpoint: Path) -> None:
    model = paa.load(checkpoint, "cpu")
    assert model.fpn.output[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert any(isinstance(module, WinogradConv2d) for module in model.modules())  # layer4 of a ResNet-18
    model.save(tmp_path / "model.safetensors")
    again = paa.load(tmp_path / "model.safetensors", "cpu").state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in model.state_dict().items())


def test_auto_is_what_the_device_has(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "paa")
    for there in (False, True):
        speed._warn_of_slow_bfloat16.cache_clear()
        monkeypatch.setattr(speed, "has_bfloat16", lambda device, there=there: there)
        assert resolve_precision("auto", CPU) == ("bfloat16" if there else "float32")
        assert resolve_precision("float32", CPU) == "float32"
        caplog.clear()
        assert resolve_precision("bfloat16", CPU) == "bfloat16"
        assert bool(caplog.messages) != there
    assert isinstance(has_bfloat16(CPU), bool)


def test_slow_bfloat16_is_warned_of_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "paa")
    speed._warn_of_slow_bfloat16.cache_clear()
    monkeypatch.setattr(speed, "has_bfloat16", lambda device: False)
    for _ in range(3):  # as at each validation of a run
        assert resolve_precision("bfloat16", CPU) == "bfloat16"
    assert caplog.messages == ["this CPU has no instructions for bfloat16, in which it is slower than in float32"]


def test_arranging_keeps_names_and_values() -> None:
    detector = Detector(ModelConfig(backbone="resnet18", channels=96, tower_depth=1), ("a",))
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    arrange(detector, channels_last=True, fast_convolutions=True)
    after = detector.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert isinstance(detector.fpn.output[0], WinogradConv2d)


@pytest.mark.parametrize("name", ["resnet18, frozen", "resnet50, deformable"])
def test_network_and_losses_compile_without_graph_breaks(name: str, batch: tuple[Tensor, Tensor]) -> None:
    """Traced as a whole, forward and backward, by torch.compile; what is left to it is to make code of that."""
    torch.manual_seed(0)
    detector = Detector(MODELS[name], ("a", "b"))
    boxes = torch.tensor([[[4.0, 4, 50, 50], [10, 10, 30, 60]], [[0, 0, 40, 40], [0, 0, 0, 0]]])
    labels = torch.tensor([[0, 1], [1, -1]])

    def run(network: Callable[..., HeadOutputs], losses: Callable[..., Any]) -> tuple[dict[str, Tensor], list[Tensor]]:
        outputs = network(*batch)
        result = losses(outputs, detector.anchors(outputs), boxes, labels)
        assert int(result.num_positives) > 0
        detector.zero_grad()
        torch.stack(list(result.losses.values())).sum().backward()
        return result.losses, [p.grad.clone() for p in detector.parameters() if p.grad is not None]

    expected, gradients = run(detector, paa_losses)
    whole = [torch.compile(f, fullgraph=True, backend="aot_eager") for f in (detector, paa_losses)]
    got, got_gradients = run(*whole)
    for key, value in expected.items():
        torch.testing.assert_close(got[key], value, rtol=1e-5, atol=0)
    for ours, theirs in zip(got_gradients, gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5 * float(theirs.abs().max()) + 1e-8)


def test_a_compiled_run_trains_as_an_eager_one(
    tmp_path: Path, micro: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that `paa train --compile` does but the making of code, which takes minutes."""
    made: list[str] = []
    compile_ = torch.compile

    def traced(function: Any = None, **options: Any) -> Any:
        made.append(getattr(function, "__name__", type(function).__name__))
        return compile_(function, **{**options, "backend": "aot_eager", "mode": None})

    monkeypatch.setattr(torch, "compile", traced)
    records: dict[str, list[float]] = {}
    for mode in ("off", "default"):
        config = micro(tmp_path / mode, schedule={"steps": 2}, runtime={"compile": mode, "fast_convolutions": False})
        losses: list[float] = []
        train(config, Process(CPU), lambda record, losses=losses: losses.append(record["loss"]))
        records[mode] = losses
    assert {"_call_impl", "paa_losses"} <= set(made)  # the network's and the losses'
    assert records["default"] == pytest.approx(records["off"], rel=1e-4)
    assert len(records["off"]) == 2


def test_a_loaded_model_compiles(checkpoint: Path) -> None:
    """Its convolutions are replaced already, by some that take the direct way when they are traced."""
    model = paa.load(checkpoint, "cpu").optimise("float32")
    inputs = torch.full((1, 3, 256, 320), 7, dtype=torch.uint8), torch.tensor([[256, 320]])
    with torch.inference_mode():
        expected = model(*inputs)
        got = torch.compile(model, fullgraph=True, backend="eager")(*inputs)
    assert not torch.equal(got.cls_logits, expected.cls_logits), "Winograd's way was not taken without compilation"
    torch.testing.assert_close(got.cls_logits, expected.cls_logits, rtol=1e-3, atol=1e-3)


def test_nothing_is_compiled_unless_it_is_asked_for() -> None:
    network = torch.nn.Linear(2, 2)
    compile_network(network, "off")
    assert network._compiled_call_impl is None
    compile_network(network, "reduce-overhead")
    assert network._compiled_call_impl is not None
