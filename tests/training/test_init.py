"""Training from weights: each tensor starts as the file has it, frozen ones stay so, and changes are logged."""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import paa
from paa.config import CAFFE_MEAN, IMAGENET_MEAN, DataConfig, ModelConfig
from paa.errors import CheckpointError, ConfigError
from paa.model.detector import Detector
from paa.runtime.distributed import Process
from paa.training.run_folder import save_checkpoint
from paa.training.settings import TrainConfig
from paa.training.train import train
from paa.weights.formats import own
from paa.weights.read import read_weights
from tests.parity import filled

CPU = Process(torch.device("cpu"))
GOLDEN = Path(__file__).parent.parent / "golden"
RACCOON = Path(__file__).parents[3] / "shared" / "data" / "raccoon"
Micro = Callable[..., TrainConfig]

_ENTRIES = json.loads((GOLDEN / "caffe2_r50_names.json").read_text())
PLACES = {
    blob: f"backbone.{entry['to'].removeprefix('stem.')}" for blob, entry in _ENTRIES.items() if entry["to"] is not None
}
"""Blob -> the detector's tensor that it fills."""

SHORT: dict[str, Any] = {
    "model": {"backbone": "resnet50"},
    "schedule": {"steps": 2, "decays": (), "frozen_stages": 2},
}


@pytest.fixture(scope="module")
def blobs() -> dict[str, Tensor]:
    """Return the golden filling of R-50.pkl, with norms that keep a deep network's features of one size."""
    made = filled(GOLDEN, {blob: entry["shape"] for blob, entry in _ENTRIES.items()})
    for blob in made:
        if blob.endswith("_w"):
            made[blob] /= 60 if blob == "conv1_w" else 1
        else:
            made[blob] *= 0.25 if blob.endswith("2c_bn_s") else 1
    return made


@pytest.fixture(scope="module")
def caffe2_file(tmp_path_factory: pytest.TempPathFactory, blobs: dict[str, Tensor]) -> Path:
    path = tmp_path_factory.mktemp("caffe2") / "R-50.pkl"
    path.write_bytes(pickle.dumps({"blobs": {blob: tensor.numpy() for blob, tensor in blobs.items()}}, 2))
    return path


def sha256(tensor: Tensor) -> str:
    return hashlib.sha256(f"{tensor.dtype}{tuple(tensor.shape)}".encode() + tensor.numpy().tobytes()).hexdigest()


def expected_hashes(blobs: dict[str, Tensor]) -> dict[str, str]:
    """Return the hash of every tensor of the backbone that the file stands for."""
    expected = {}
    for blob, name in PLACES.items():
        expected[name] = sha256(blobs[blob])
        if blob.endswith("_bn_s"):
            expected[name.replace("weight", "running_mean")] = sha256(torch.zeros_like(blobs[blob]))
            expected[name.replace("weight", "running_var")] = sha256(torch.ones_like(blobs[blob]))
    return expected


def trained_hashes(path: Path) -> dict[str, str]:
    """Return the hashes of the backbone's tensors in a checkpoint."""
    model = torch.load(path, weights_only=True)["model"]
    return {name: sha256(tensor) for name, tensor in model.items() if name.startswith("backbone.")}


def is_frozen(name: str) -> bool:
    """Say whether a run with a frozen stem and first stage, and frozen norms, leaves a tensor of R-50 as it is."""
    norm = ".bn" in name or ".downsample.1." in name
    return norm or name.startswith(("backbone.conv1.", "backbone.layer1."))


def on_raccoon(config: TrainConfig) -> TrainConfig:
    if not RACCOON.is_dir():
        pytest.skip("the data set raccoon is not beside the repository (../shared/data/raccoon)")
    return replace(config, data=DataConfig(RACCOON))


@pytest.mark.parametrize(("data", "lrs"), [("shapes", (0.0, 0.002)), ("raccoon", (0.002,))])
def test_every_tensor_of_the_backbone_starts_as_the_file_has_it(
    tmp_path: Path, micro: Micro, caffe2_file: Path, blobs: dict[str, Tensor], data: str, lrs: tuple[float, ...]
) -> None:
    """Shown by a run that learns nothing, and by one in which only what is not frozen moves."""
    expected = expected_hashes(blobs)
    assert len(expected) == len(PLACES) + 2 * 53 == 265
    moved: dict[float, set[str]] = {}
    for lr in lrs:
        schedule = {**SHORT["schedule"], "lr": lr}
        config = micro(tmp_path / str(lr), **{**SHORT, "schedule": schedule}, init=str(caffe2_file))
        run = train(on_raccoon(config) if data == "raccoon" else config, CPU)
        after = trained_hashes(run.last)
        assert set(after) == set(expected)
        moved[lr] = {name for name in after if after[name] != expected[name]}
    assert moved.get(0.0, set()) == set()
    assert moved[0.002] == {name for name in expected if not is_frozen(name)}
    assert len(moved[0.002]) == 42  # the convolutions of the last three stages: 3 x (4 + 6 + 3) and 3 shortcuts
    model = paa.load(tmp_path / "0.002" / "last.pt", "cpu")
    assert model.names == (("raccoon",) if data == "raccoon" else ("circle", "square", "triangle", "star"))


def test_the_run_has_the_model_of_the_file_and_logs_changes(
    tmp_path: Path, micro: Micro, caffe2_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "paa"):
        run = train(micro(tmp_path / "run", schedule={"steps": 1, "decays": ()}, init=str(caffe2_file)), CPU)
    lines = start_lines(caplog)
    changes = {
        "backbone": ("resnet18", "resnet50"),
        "norm_eps": (1e-5, 0.0),
        "stride_in_1x1": (False, True),
        "mean": (IMAGENET_MEAN, CAFFE_MEAN),
        "std": (ModelConfig().std, (1.0, 1.0, 1.0)),
        "bgr": (False, True),
    }
    said = {f"model.{name}: {new}, as {caffe2_file} has it (not {old})" for name, (old, new) in changes.items()}
    assert set(lines[:6]) == said
    assert lines[6] == f"the backbone starts from {caffe2_file}; the pyramid and the head start fresh"
    assert lines[7] == "left out, as detectors do not have them: fc1000_w, fc1000_b"
    assert not any("frozen at random weights" in line for line in lines)
    recorded = json.loads((run.folder / "config.json").read_text())
    assert recorded["init"] == str(caffe2_file)
    model = recorded["recipe"]["model"]
    assert {name: model[name] for name in ("backbone", "stride_in_1x1", "bgr")} == {
        "backbone": "resnet50",
        "stride_in_1x1": True,
        "bgr": True,
    }
    assert model["channels"] == 16
    assert paa.load(run.last, "cpu").config.mean == CAFFE_MEAN


def test_random_weights_that_are_frozen_are_logged(
    tmp_path: Path, micro: Micro, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "paa"):
        train(micro(tmp_path / "run", schedule={"steps": 1}), CPU)
    assert start_lines(caplog) == [
        "no --init: batch norm or stages are frozen at random weights; recipe r18_nano needs none"
    ]


def test_a_detector_starts_a_run_on_other_classes(
    tmp_path: Path, micro: Micro, shapes: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a run that learns nothing: the shared classes' rows are the file's, the new ones' as fresh as without it."""
    config = micro(tmp_path / "run", schedule={"steps": 1, "lr": 0.0})
    torch.manual_seed(5)
    names = ("star", "house", "circle")
    detector = Detector(replace(config.recipe.model, norm="batch"), names)
    for tensor in detector.state_dict().values():
        if tensor.is_floating_point():
            tensor += 0.01 * torch.rand_like(tensor)
    save_checkpoint(tmp_path / "old.pt", own.write(detector.config, names, detector.state_dict()))
    with caplog.at_level(logging.INFO, "paa"):
        run = train(replace(config, init=str(tmp_path / "old.pt")), CPU)
    lines = start_lines(caplog)
    assert lines == [
        f"the whole detector starts from {tmp_path / 'old.pt'}",
        "except 2 of 4 classes, whose rows of head.cls_logits.weight and head.cls_logits.bias start fresh: "
        "square, triangle",
        "1 of its classes are not in the data set, and are dropped",
    ]
    after, before = torch.load(run.last, weights_only=True), detector.state_dict()
    assert after["names"] == ["circle", "square", "triangle", "star"]
    without = torch.load(train(replace(config, output=tmp_path / "fresh"), CPU).last, weights_only=True)["model"]
    for name, tensor in after["model"].items():
        if name.startswith("head.cls_logits."):
            rows = torch.stack([before[name][2], without[name][1], without[name][2], before[name][0]])
            assert torch.equal(tensor, rows)
        else:
            assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("known", [True, False])
def test_a_probability_to_start_with_needs_a_fresh_class(
    tmp_path: Path, micro: Micro, caplog: pytest.LogCaptureFixture, known: bool
) -> None:
    config = micro(tmp_path / "run", schedule={"steps": 1, "prior_probability": 0.1})
    names = ("circle", "square", "triangle", "star" if known else "house")
    detector = Detector(config.recipe.model, names)
    old = tmp_path / "old.pt"
    save_checkpoint(old, own.write(detector.config, names, detector.state_dict()))
    with caplog.at_level(logging.INFO, "paa"):
        train(replace(config, init=str(old), named=("schedule.prior_probability",)), CPU)
    line = f"schedule.prior_probability has no effect: {old} has all classes"
    assert (line in start_lines(caplog)) == known


@pytest.mark.parametrize(
    ("given", "chosen", "says", "kind"),
    [
        ("R-50.pkl", ("backbone",), "R-50.pkl: holds a model with backbone resnet50, not resnet18", ConfigError),
        ("R-50.pkl", ("bgr", "channels"), "R-50.pkl: holds a model with bgr True, not False", ConfigError),
        ("gone.pkl", (), "gone.pkl: no such file", CheckpointError),
        ("torchvision/resnet51", (), "torchvision/resnet51: no such weights", CheckpointError),
        ("text.pkl", (), "text.pkl: a text, not a checkpoint", CheckpointError),
    ],
)
def test_weights_that_cannot_be_used_leave_no_folder(
    tmp_path: Path,
    micro: Micro,
    caffe2_file: Path,
    given: str,
    chosen: tuple[str, ...],
    says: str,
    kind: type[Exception],
) -> None:
    (tmp_path / "text.pkl").write_text("hello")
    init = given if "/" in given else str((caffe2_file.parent if given == "R-50.pkl" else tmp_path) / given)
    with pytest.raises(kind) as caught:
        train(micro(tmp_path / "run", init=init, named=tuple(f"model.{name}" for name in chosen)), CPU)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_is_the_one_never_stopped(tmp_path: Path, micro: Micro, checkpoint: Path) -> None:
    """Resuming takes the checkpoint's weights, not those of the file it started from."""
    both: dict[str, Any] = {"init": str(checkpoint), "schedule": {"steps": 2}}
    whole = train(micro(tmp_path / "whole", **both), CPU)
    with pytest.raises(RuntimeError, match="stop"):
        train(micro(tmp_path / "part", **both, runtime={"checkpoint_interval": 1}), CPU, _stop_at_2)
    assert torch.load(tmp_path / "part" / "last.pt", weights_only=True)["training"]["step"] == 1
    resumed = train(micro(tmp_path / "part", **both, resume="last"), CPU)
    a, b = (torch.load(run.last, weights_only=True) for run in (whole, resumed))
    start = torch.load(checkpoint, weights_only=True)["model"]
    assert a["training"]["step"] == b["training"]["step"] == 2
    assert all(torch.equal(tensor, b["model"][name]) for name, tensor in a["model"].items())
    assert not torch.equal(a["model"]["fpn.p6.weight"], start["fpn.p6.weight"])


def start_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what a run logs of its initial weights, without the lines on the data set and the schedule."""
    lines = [record.getMessage() for record in caplog.records if record.name == "paa"]
    return [line for line in lines if not line.startswith(("train: ", "val: ", "schedule: "))]


def _stop_at_2(record: dict[str, Any]) -> None:
    if record["step"] == 2:
        raise RuntimeError("stop")


def test_resuming_does_not_need_the_file_that_a_run_started_from(tmp_path: Path, micro: Micro) -> None:
    config = micro(tmp_path / "run", schedule={"steps": 2})
    detector = Detector(replace(config.recipe.model, channels=8), ("circle",))
    save_checkpoint(tmp_path / "old.pt", own.write(detector.config, detector.names, detector.state_dict()))
    config = replace(config, init=str(tmp_path / "old.pt"))
    run = train(config, CPU)
    (tmp_path / "old.pt").unlink()
    schedule = replace(config.recipe.schedule, steps=3)
    longer = replace(config, recipe=replace(config.recipe, schedule=schedule), resume="last")
    assert read_weights(train(longer, CPU).last).config.channels == 8
    assert json.loads(run.log.read_text().splitlines()[-1])["step"] == 3
    with pytest.raises(ConfigError, match=r"its run had init .*old\.pt, not None"):
        train(replace(longer, init=None, recipe=replace(longer.recipe, model=detector.config)), CPU)
    with pytest.raises(ConfigError, match=r"its run had model\.channels 8, not 16"):
        train(replace(longer, named=("model.channels",)), CPU)
