"""A detector that was made faster detects the same."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import paa
from paa.config import ModelConfig
from paa.core.losses import paa_losses
from paa.core.outputs import HeadOutputs
from paa.errors import CheckpointError
from paa.model import prepare
from paa.model.backbone import FrozenBatchNorm
from paa.model.cpu.winograd import WinogradConv2d
from paa.model.detector import Detector
from paa.model.prepare import compile_network, prepare_for_device, resolve_precision
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
    """A detector whose batch norms have random statistics, in float64 so that rounding hides no mistake."""
    torch.manual_seed(0)
    model = PAA(MODELS[request.param], ("a", "b"))
    for name, tensor in model.named_buffers():
        if "running" in name:
            tensor.uniform_(0.5, 1.5)
    return model.double().eval()


def largest_difference(ours: HeadOutputs, theirs: HeadOutputs) -> float:
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours[:3], theirs[:3]))


def test_optimise_changes_nothing(model: PAA, batch: tuple[Tensor, Tensor]) -> None:
    with torch.inference_mode():
        expected = model(*batch)
        assert model.optimise("float32") is model
        assert largest_difference(model(*batch), expected) < 1e-12
    norms = [name for name, m in model.named_modules() if isinstance(m, (nn.BatchNorm2d, FrozenBatchNorm))]
    assert all("layer4" in name for name in norms)  # of deformable convolutions
    assert not any(p.requires_grad for p in model.parameters())


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


def test_a_loaded_model_is_prepared_and_saved_as_before(tmp_path: Path, checkpoint: Path) -> None:
    model = paa.load(checkpoint, "cpu")
    assert model.fpn.output[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert any(isinstance(module, WinogradConv2d) for module in model.modules())  # layer4 of a ResNet-18
    model.save(tmp_path / "model.safetensors")
    again = paa.load(tmp_path / "model.safetensors", "cpu").state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in model.state_dict().items())


def test_auto_is_bfloat16_where_the_device_has_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "paa")
    for has in (False, True):
        prepare._warn_of_slow_bfloat16.cache_clear()
        monkeypatch.setattr(prepare, "has_bfloat16", lambda device, has=has: has)
        assert resolve_precision("auto", CPU) == ("bfloat16" if has else "float32")
        assert resolve_precision("float32", CPU) == "float32"
        caplog.clear()
        assert resolve_precision("bfloat16", CPU) == "bfloat16"
        assert bool(caplog.messages) != has
    assert isinstance(has_bfloat16(CPU), bool)


def test_slow_bfloat16_is_warned_of_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "paa")
    prepare._warn_of_slow_bfloat16.cache_clear()
    monkeypatch.setattr(prepare, "has_bfloat16", lambda device: False)
    for _ in range(3):  # as at each validation of a run
        assert resolve_precision("bfloat16", CPU) == "bfloat16"
    assert caplog.messages == ["this CPU has no instructions for bfloat16, in which it is slower than in float32"]


def test_names_and_values_stay() -> None:
    detector = Detector(ModelConfig(backbone="resnet18", channels=96, tower_depth=1), ("a",))
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    prepare_for_device(detector, channels_last=True, fast_convolutions=True)
    after = detector.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert isinstance(detector.fpn.output[0], WinogradConv2d)


def test_network_and_losses_compile_without_graph_breaks(batch: tuple[Tensor, Tensor]) -> None:
    """torch.compile traces both as a whole, forward and backward; only the generation of code is left out here."""
    torch.manual_seed(0)
    detector = Detector(MODELS["resnet50, deformable"], ("a", "b"))  # the other models have no operation of their own
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
    """All that `paa train --compile` does, without the generation of code, which takes minutes."""
    compiled: list[str] = []
    compile_ = torch.compile

    def traced(function: Any = None, **options: Any) -> Any:
        compiled.append(getattr(function, "__name__", type(function).__name__))
        return compile_(function, **{**options, "backend": "aot_eager", "mode": None})

    monkeypatch.setattr(torch, "compile", traced)
    records: dict[str, list[float]] = {}
    for mode in ("off", "default"):
        config = micro(tmp_path / mode, schedule={"steps": 2}, runtime={"compile": mode, "fast_convolutions": False})
        losses: list[float] = []
        train(config, Process(CPU), lambda record, losses=losses: losses.append(record["loss"]))
        records[mode] = losses
    assert {"_call_impl", "paa_losses"} <= set(compiled)  # the network's and the losses'
    assert records["default"] == pytest.approx(records["off"], rel=1e-4)
    assert len(records["off"]) == 2


def test_a_loaded_model_compiles(checkpoint: Path) -> None:
    """Its convolutions have been replaced by faster ones, which run as torch's own when they are traced."""
    model = paa.load(checkpoint, "cpu").optimise("float32")
    inputs = torch.full((1, 3, 256, 320), 7, dtype=torch.uint8), torch.tensor([[256, 320]])
    with torch.inference_mode():
        expected = model(*inputs)
        got = torch.compile(model, fullgraph=True, backend="eager")(*inputs)
    assert not torch.equal(got.cls_logits, expected.cls_logits), "Winograd's algorithm was not used without compilation"
    torch.testing.assert_close(got.cls_logits, expected.cls_logits, rtol=1e-3, atol=1e-3)


def test_nothing_is_compiled_unless_it_is_asked_for() -> None:
    network = torch.nn.Linear(2, 2)
    compile_network(network, "off")
    assert network._compiled_call_impl is None
    compile_network(network, "reduce-overhead")
    assert network._compiled_call_impl is not None
