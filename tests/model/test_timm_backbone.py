"""timm's models as backbones: features, gradients, whole runs, and the errors for models that cannot be used."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import timm
import torch
from torch import Tensor

import paa
from paa.config import ModelConfig
from paa.data.shapes import NAMES
from paa.errors import CheckpointError, ConfigError
from paa.model.detector import Detector
from paa.model.timm_backbone import TimmBackbone
from paa.runtime.distributed import Process
from paa.training.run_folder import RunFolder, save_checkpoint
from paa.training.settings import TrainConfig
from paa.training.train import train
from paa.weights.formats import own

CPU = Process(torch.device("cpu"))
META = torch.device("meta")
Micro = Callable[..., TrainConfig]

CHANNELS = {
    "convnext_atto": (80, 160, 320),
    "swin_tiny_patch4_window7_224": (192, 384, 768),
    "pvt_v2_b0": (64, 160, 256),
    "mobilenetv3_small_050": (16, 24, 288),
}
SWIN, MOBILE = "swin_tiny_patch4_window7_224", "mobilenetv3_small_050"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing may open a socket or look up an address, not even where a failure would be ignored."""
    tried = []

    def refuse(*given: Any, **options: Any) -> NoReturn:
        tried.append(given)
        raise OSError("no network in these tests")

    for name in ("socket", "getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    yield
    assert not tried


@pytest.fixture(scope="module")
def backbones() -> dict[str, TimmBackbone]:
    """Return a backbone of each name, with trained batch norm."""
    torch.manual_seed(0)
    return {name: TimmBackbone(name, norm="batch") for name in CHANNELS}


def detector_of(name: str, **options: Any) -> Detector:
    torch.manual_seed(0)
    return Detector(ModelConfig(backbone=f"timm/{name}", channels=16, tower_depth=1, **options), NAMES)


def draw(batch: int, height: int, width: int) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(height))


def one_line(error: pytest.ExceptionInfo[BaseException]) -> bool:
    return "\n" not in str(error.value)


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("size", [(32, 64), (160, 96), (256, 224)])
def test_features_of_strides_8_16_32(backbones: dict[str, TimmBackbone], name: str, size: tuple[int, int]) -> None:
    """For images of any size; and an image in a batch gives the same features as alone."""
    backbone = backbones[name].eval()
    assert backbone.channels == CHANNELS[name]
    x = draw(2, *size)
    with torch.inference_mode():
        both = backbone(x)
        alone = backbone(x[1:])
    assert [tuple(f.shape) for f in both] == [
        (2, c, size[0] // s, size[1] // s) for c, s in zip(CHANNELS[name], (8, 16, 32))
    ]
    for ours, expected in zip(both, alone, strict=True):
        assert (ours[1] - expected[0]).abs().max() <= 1e-4 * expected.abs().max()
        assert not torch.equal(ours[0], ours[1])


@pytest.mark.parametrize("name", ["convnext_atto", SWIN, MOBILE])
def test_a_feature_of_stride_4_for_p2(backbones: dict[str, TimmBackbone], name: str) -> None:
    """Before the others, which stay as they are."""
    fine = TimmBackbone(name, norm="batch", first_level=2).eval()
    fine.load_state_dict(backbones[name].state_dict())
    assert fine.channels[1:] == CHANNELS[name]
    x = draw(2, 64, 96)
    with torch.inference_mode():
        c2, *coarser = fine(x)
        expected = backbones[name].eval()(x)
    assert c2.shape == (2, fine.channels[0], 16, 24)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(coarser, expected, strict=True))


@pytest.mark.parametrize(
    "name", ["convnext_tiny", SWIN, "pvt_v2_b2", "mobilenetv3_large_100", "convnext_tiny.in12k_ft_in1k"]
)
@pytest.mark.parametrize("norm", ["frozen", "batch"])
def test_on_the_meta_device(name: str, norm: str) -> None:
    """As a checkpoint's model is built to see whether its tensors fit."""
    with META:
        backbone = TimmBackbone(name, norm=norm)
        features = backbone(torch.zeros(2, 3, 64, 96))
    assert all(tensor.is_meta for tensor in backbone.state_dict().values())
    assert [tuple(f.shape) for f in features] == [
        (2, c, 64 // s, 96 // s) for c, s in zip(backbone.channels, (8, 16, 32))
    ]
    if name.startswith("convnext_tiny"):
        assert backbone.channels == (192, 384, 768)


@pytest.mark.parametrize("name", ["convnext_atto", "pvt_v2_b0", MOBILE])
def test_the_last_feature_is_what_timm_classifies(backbones: dict[str, TimmBackbone], name: str) -> None:
    """So pre-trained weights mean the same here as in timm."""
    backbone, whole = backbones[name].eval(), timm.create_model(name).eval()
    tensors = {n.removeprefix("body.model."): tensor for n, tensor in backbone.state_dict().items()}
    missing, unexpected = whole.load_state_dict(tensors, strict=False)
    assert not unexpected
    assert {n.split(".")[0] for n in missing} <= {"head", "conv_head", "norm_head", "classifier"}
    x = draw(1, 96, 64)
    with torch.inference_mode():
        expected = whole.forward_features(x)
        assert (backbone(x)[2] - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_swin_at_another_size_is_the_swin_of_that_size(backbones: dict[str, TimmBackbone]) -> None:
    """The masks of its shifted windows follow the image."""
    size = (256, 320)
    fixed = timm.create_model(SWIN, img_size=size, features_only=True, feature_cls="getter", out_indices=(1, 2)).eval()
    fixed.load_state_dict({n: t for n, t in backbones[SWIN].body.state_dict().items() if n in fixed.state_dict()})
    x = draw(1, *size)
    with torch.inference_mode():
        for ours, expected in zip(backbones[SWIN].eval()(x)[:2], fixed(x), strict=True):
            assert (ours - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("name", CHANNELS)
def test_every_parameter_learns(backbones: dict[str, TimmBackbone], name: str) -> None:
    """A parameter without a gradient would stop training in several processes."""
    backbone = backbones[name].train()
    backbone.zero_grad()
    torch.stack([feature.square().mean() for feature in backbone(draw(2, 64, 96))]).sum().backward()
    gradients = {n: parameter.grad for n, parameter in backbone.named_parameters()}
    backbone.zero_grad()
    assert [n for n, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()] == []
    assert sum(bool(gradient.any()) for gradient in gradients.values()) >= 0.95 * len(gradients)


@pytest.mark.parametrize("name", CHANNELS)
def test_under_autocast(backbones: dict[str, TimmBackbone], name: str) -> None:
    backbone, x = backbones[name].eval(), draw(1, 64, 96)
    with torch.inference_mode():
        precise = backbone(x)
        with torch.autocast("cpu", torch.bfloat16):
            half = backbone(x)
    for ours, expected in zip(half, precise, strict=True):
        difference = (ours.float() - expected).abs().max() / expected.abs().max()
        assert 0 < difference < 0.05


@pytest.mark.parametrize(("name", "depthwise"), [(MOBILE, True), (SWIN, False)])
def test_depthwise_convolutions_are_trained_in_float32_on_a_cpu(
    backbones: dict[str, TimmBackbone], name: str, depthwise: bool
) -> None:
    """Their gradients in bfloat16 take far longer; without gradients bfloat16 is faster for them, too."""
    backbone, x = backbones[name].eval(), draw(1, 64, 96)
    seen: list[torch.dtype] = []
    module = next(m for m in backbone.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear)))
    hook = module.register_forward_hook(lambda module, given, made: seen.append(made.dtype))
    with hook, torch.autocast("cpu", torch.bfloat16):
        backbone(x)
        with torch.no_grad():
            backbone(x)
    assert seen == [torch.float32 if depthwise else torch.bfloat16, torch.bfloat16]


def read_log(run: RunFolder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.log.read_text().splitlines()]


@pytest.mark.parametrize(("name", "precision"), [*((name, "float32") for name in CHANNELS), (SWIN, "bfloat16")])
def test_a_run_makes_a_checkpoint_that_predicts(tmp_path: Path, micro: Micro, name: str, precision: str) -> None:
    schedule = {"steps": 2, "decays": (), "frozen_stages": 0, "warmup_steps": 0}
    model = {"backbone": f"timm/{name}", "norm": "affine"}
    config = micro(tmp_path / "run", model=model, schedule=schedule, runtime={"precision": precision})
    run = train(config, CPU)
    assert [record["step"] for record in read_log(run)] == [1, 2]
    assert all(math.isfinite(record["loss"]) for record in read_log(run))
    loaded = paa.load(run.last, "cpu")
    assert loaded.config == config.recipe.model
    assert not loaded.training
    before, after = detector_of(name, norm="affine", min_size=64, max_size=96).state_dict(), loaded.state_dict()
    content = torch.load(run.last, weights_only=True)["model"]
    assert content.keys() == after.keys() == before.keys()
    assert all(torch.equal(tensor, content[n]) for n, tensor in after.items())
    trained = [n for n, p in loaded.named_parameters() if p.ndim > 1]
    assert [n for n in trained if torch.equal(before[n], after[n])] == []
    if precision == "float32":
        with torch.no_grad():
            loaded.head.cls_logits.bias.zero_()  # sure of everything
        found = loaded.predict(np.random.default_rng(0).integers(0, 256, (50, 77, 3), dtype=np.uint8))
        assert len(found) > 0
        assert np.isfinite(found.boxes).all()
        assert (found.boxes[:, 2] <= 77 + 1e-3).all()


@pytest.mark.parametrize("norm", ["frozen", "affine", "batch"])
def test_which_tensors_of_batch_norm_a_run_changes(tmp_path: Path, micro: Micro, norm: str) -> None:
    schedule = {"steps": 3, "frozen_stages": 0, "lr": 0.01}
    run = train(micro(tmp_path / "run", model={"backbone": f"timm/{MOBILE}", "norm": norm}, schedule=schedule), CPU)
    before, after = (
        detector_of(MOBILE, norm=norm).backbone.state_dict(),
        paa.load(run.last, "cpu").backbone.state_dict(),
    )
    assert before.keys() == after.keys()
    norms = {n.rpartition(".")[0] for n in after if n.endswith("running_mean")}
    assert len(norms) > 20

    def changed(*kinds: str) -> list[bool]:
        return [not torch.equal(before[f"{n}.{kind}"], after[f"{n}.{kind}"]) for n in norms for kind in kinds]

    assert (
        all(changed("running_mean", "running_var")) == any(changed("running_mean", "running_var")) == (norm == "batch")
    )
    if norm == "frozen":
        assert not any(changed("weight", "bias"))
        assert not [n for n in after if n.endswith("num_batches_tracked")]
    else:
        assert all(changed("bias"))
        assert sum(changed("weight")) > 0.9 * len(norms)  # the others' step is lost beside 1
        assert all(after[f"{n}.num_batches_tracked"] == (3 if norm == "batch" else 0) for n in norms)
    assert all(not torch.equal(tensor, before[n]) for n, tensor in after.items() if tensor.ndim == 4)


def test_kinds_of_norm_differ_in_training_only() -> None:
    batch = TimmBackbone(MOBILE, norm="batch")
    with torch.no_grad():
        for _ in range(3):
            batch(draw(2, 64, 96) + 1)
    x = draw(1, 64, 96)
    with torch.inference_mode():
        expected = batch.eval()(x)
        for norm in ("frozen", "affine"):
            other = TimmBackbone(MOBILE, norm=norm)
            other.load_state_dict(batch.state_dict())
            modes = (True, False) if norm == "frozen" else (False,)  # the detector holds "affine" in evaluation mode
            for mode in modes:
                for ours, theirs in zip(other.train(mode)(x), expected, strict=True):
                    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@pytest.mark.parametrize(("first", "then"), [("frozen", "affine"), ("affine", "frozen"), ("batch", "affine")])
def test_a_run_starts_from_a_model_of_another_norm(tmp_path: Path, micro: Micro, first: str, then: str) -> None:
    """At a learning rate of zero it stays that model."""
    path, detector = tmp_path / "first.pt", detector_of(MOBILE, norm=first)
    for name, tensor in detector.backbone.state_dict().items():
        if "running_" in name:
            tensor.uniform_(0.5, 1.5)
    save_checkpoint(path, own.write(detector.config, detector.names, detector.state_dict()))
    schedule = {"steps": 1, "frozen_stages": 0, "lr": 0.0}
    model = {"backbone": f"timm/{MOBILE}", "norm": then}
    run = train(micro(tmp_path / "run", init=str(path), model=model, schedule=schedule), CPU)
    before, after = detector.state_dict(), paa.load(run.last, "cpu")
    assert after.config.norm == then
    for name, tensor in after.state_dict().items():
        assert name.endswith("num_batches_tracked") or torch.equal(tensor, before[name]), name


UNFIT = {
    "vit_tiny_patch16_224": r"gives features of strides \[16, 16, 16\], not of \[8, 16, 32\]",
    "levit_128": r"gives features of strides \[16, 32, 64\], not of \[8, 16, 32\]",
    "maxvit_nano_rw_256": "cannot take images of every size",
    "inception_v3": "gives features of shapes .*, expected ",
    "convnext_atto.nosuchtag": "nosuchtag",
    "convnext_atom": "timm has no model 'convnext_atom'; similar names: convnext_",
    "no_such_model": "timm has no model 'no_such_model'",
    **dict.fromkeys(
        (
            *("", " ", ".", "*", "hf-hub:someone/something", "hf_hub:someone/something", "local-dir:somewhere"),
            *("../x", "/x", "a/b", "timm/convnext_atto", "../convnext_atto", "convnext_atto/", "convnext_atto/../x"),
            *(
                " convnext_atto",
                "convnext_atto\n",
                "convnext_atto.a.b",
                "convnext_atto.",
                "CONVNEXT_ATTO",
                "ｃonvnext_atto",
            ),
        ),
        "timm has no model ",
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_models_that_cannot_be_used(name: str) -> None:
    with META, pytest.raises(ConfigError, match=UNFIT[name]) as caught:
        detector_of(name)
    assert one_line(caught)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("option", [{"stride_in_1x1": True}, {"dcn_stages": (5,)}])
def test_options_of_resnets(option: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="timm/pvt_v2_b0: stride_in_1x1 and dcn_stages are for ResNets") as caught:
        detector_of("pvt_v2_b0", **option)
    assert one_line(caught)


def test_a_model_that_fails_without_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: Any, **options: Any) -> NoReturn:
        raise AssertionError

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(ConfigError, match=r"^timm/pvt_v2_b0: gives no features \(AssertionError\)$"):
        TimmBackbone("pvt_v2_b0")


@pytest.mark.parametrize(("name", "stages"), [(MOBILE, 5), (SWIN, 4), ("convnext_atto", 4), ("pvt_v2_b0", 4)])
def test_a_frozen_stage_is_all_that_comes_before_its_feature(
    backbones: dict[str, TimmBackbone], name: str, stages: int
) -> None:
    """So the first gradients are those of the next stage, and every parameter after it has one."""
    backbone = backbones[name].train()
    assert len(backbone.stages()) == stages
    with_gradient = {n for n, parameter in backbone.named_parameters() if parameter.requires_grad}
    frozen = {id(parameter) for stage in backbone.stages()[:2] for parameter in stage.parameters()}
    try:
        for stage in backbone.stages()[:2]:
            stage.requires_grad_(False)
        backbone.zero_grad()
        torch.stack([feature.square().mean() for feature in backbone(draw(2, 64, 96))]).sum().backward()
        learned = {n for n, parameter in backbone.named_parameters() if parameter.grad is not None}
        assert learned == {n for n, p in backbone.named_parameters() if n in with_gradient and id(p) not in frozen}
        taken = backbone.body.feature_info.module_name()[2:]
        parameters = dict(backbone.named_parameters())
        assert all(id(parameters[n]) in frozen for n in with_gradient if "stem" in n or "patch_embed" in n)
        assert all(any(n.startswith(f"body.model.{end}.") for n in learned) for end in taken)
    finally:
        for n in with_gradient:
            backbone.get_parameter(n).requires_grad_(True)
        backbone.zero_grad()


def test_no_more_stages_than_features_can_be_frozen(tmp_path: Path, micro: Micro) -> None:
    model, says = {"backbone": f"timm/{SWIN}"}, "has 4 stages that can be frozen, not 5: set schedule.frozen_stages"
    with pytest.raises(ConfigError, match=says) as caught:
        train(micro(tmp_path / "run", model=model, schedule={"frozen_stages": 5}), CPU)
    assert one_line(caught)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["hf-hub:someone/something", "vit_tiny_patch16_224", "../x"])
def test_a_checkpoint_of_a_model_that_cannot_be_used(tmp_path: Path, name: str) -> None:
    """Reading such a file fetches nothing."""
    config, tensors = ModelConfig(backbone=f"timm/{name}"), {"head.scales": torch.ones(5)}
    save_checkpoint(tmp_path / "model.pt", own.write(config, ("a",), tensors))
    with pytest.raises(CheckpointError, match=r"model\.pt: no model can be built from its configuration") as caught:
        paa.load(tmp_path / "model.pt", "cpu")
    assert one_line(caught)


def test_without_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = detector_of(MOBILE)
    save_checkpoint(tmp_path / "model.pt", own.write(detector.config, detector.names, detector.state_dict()))
    for module in [name for name in sys.modules if name.partition(".")[0] == "timm"]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=f"^timm/{MOBILE}: timm is not installed: pip install 'paa\\[timm\\]'$"):
        detector_of(MOBILE)
    with pytest.raises(CheckpointError, match="pip install 'paa") as caught:
        paa.load(tmp_path / "model.pt", "cpu")
    assert one_line(caught)


def test_timm_is_imported_only_for_its_models(checkpoint: Path) -> None:
    code = f"""
import sys
import paa, paa.commands.main, paa.recipes
from paa.config import ModelConfig
from paa.model.detector import Detector
paa.load({str(checkpoint)!r}, "cpu")
assert "timm" not in sys.modules
Detector(ModelConfig(backbone="timm/{MOBILE}", channels=16, tower_depth=0), ("a",))
assert "timm" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
