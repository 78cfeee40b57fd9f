"""This project's files, old and new, and files of no format: an error of one line, and no code run."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from paa.config import ModelConfig, to_dict
from paa.errors import CheckpointError, ConfigError, PaaError, RunError
from paa.model.detector import Detector
from paa.model.prepare import prepare_for_device
from paa.predictor import PAA, load
from paa.training.run_folder import save_checkpoint
from paa.weights.files import read_file
from paa.weights.formats import own
from paa.weights.read import build, read_weights
from paa.weights.state import Checkpoint
from tests.weights.golden_states import digests

SMALL = ModelConfig(backbone="resnet18", norm="batch", channels=32, tower_depth=1, mean=(1.0, 2.0, 3.0))
NAMES = ("cat", "Hund", "鳥")


@pytest.fixture(scope="module")
def detector() -> PAA:
    torch.manual_seed(0)
    model = PAA(SMALL, NAMES)
    model(torch.zeros(2, 3, 64, 64, dtype=torch.uint8), torch.tensor([[64, 64]] * 2))  # updates the statistics
    return model.eval()


def content(detector: Detector, **changes: Any) -> dict[str, Any]:
    return {**own.write(detector.config, detector.names, detector.state_dict()), **changes}


def write(path: Path, model: Detector, form: str) -> Path:
    """Write a model file or a training checkpoint, as `form` says by its suffix."""
    path = path.with_suffix(form)
    if form == ".pt":
        save_checkpoint(path, content(model, training={"step": 3}))
    else:
        own.write_model(path, model.config, model.names, model.state_dict(), {})
    return path


@pytest.mark.parametrize("form", [".pt", ".safetensors"])
def test_round_trip(tmp_path: Path, detector: PAA, form: str) -> None:
    path = write(tmp_path / "a", detector, form)
    weights = read_weights(path)
    assert (weights.config, weights.names, weights.num_classes) == (SMALL, NAMES, 3)
    assert weights.provenance == {"file": path.name} | ({"format": "paa checkpoint"} if form == ".pt" else {})
    again = load(path, device="cpu")
    assert isinstance(again, PAA)
    assert not again.training
    assert (again.config, again.names) == (SMALL, NAMES)
    before, after = detector.state_dict(), again.state_dict()
    assert list(before) == list(after)
    assert digests(before) == digests(after)
    images, sizes = torch.full((1, 3, 64, 64), 7, dtype=torch.uint8), torch.tensor([[64, 64]])
    with torch.inference_mode():
        prepared = copy.deepcopy(detector)
        prepare_for_device(prepared, channels_last=True, fast_convolutions=True)  # as what is loaded is
        assert torch.equal(again(images, sizes).cls_logits, prepared(images, sizes).cls_logits)
    again.save(tmp_path / "b.safetensors")
    assert digests(load_file(tmp_path / "b.safetensors")) == digests(before)


def test_every_configuration_comes_back(tmp_path: Path) -> None:
    """Each field at a value that is not its default, one at a time."""
    other: dict[str, Any] = {
        bool: lambda value: not value,
        int: lambda value: 2 * value,
        float: lambda value: value + 0.25,
        tuple: lambda value: tuple(2 * v + 1 for v in value) or (4, 5),
    }
    chosen = {"backbone": "resnext101_64x4d", "norm": "affine", "first_level": 2}
    for field in dataclasses.fields(ModelConfig):
        value = getattr(ModelConfig(), field.name)
        changed = chosen[field.name] if field.name in chosen else other[type(value)](value)
        config = dataclasses.replace(ModelConfig(), **{field.name: changed})
        assert config != ModelConfig()
        own.write_model(tmp_path / "a.safetensors", config, NAMES, {"x": torch.zeros(1)}, {"made": "by hand"})
        weights = read_weights(tmp_path / "a.safetensors")
        assert (weights.config, weights.names) == (config, NAMES), field.name
        assert weights.provenance == {"file": "a.safetensors", "made": "by hand"}
        assert own.read(Checkpoint("file", own.write(config, NAMES, {}))).config == config


def test_other_programs_can_read_a_model_file(tmp_path: Path, detector: PAA) -> None:
    detector.save(tmp_path / "a.safetensors")
    with safe_open(str(tmp_path / "a.safetensors"), "pt") as file:
        metadata = file.metadata()
        assert set(file.keys()) == set(detector.state_dict())
    assert set(metadata) == {"paa"}
    about = json.loads(metadata["paa"])
    assert about == {"version": 1, "config": to_dict(SMALL), "names": list(NAMES), "provenance": {}}
    assert "鳥" in metadata["paa"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_models_of_other_types_and_layouts(
    tmp_path: Path, detector: PAA, dtype: torch.dtype, layout: torch.memory_format
) -> None:
    model = PAA(SMALL, NAMES)
    model.load_state_dict(detector.state_dict())
    model = model.to(dtype).to(memory_format=layout)  # type: ignore[call-overload]
    strided = layout == torch.channels_last
    assert model.fpn.p6.weight.is_contiguous() != strided
    model.save(tmp_path / "a.safetensors")
    inside = load_file(tmp_path / "a.safetensors")
    for name, tensor in model.state_dict().items():
        assert inside[name].dtype == tensor.dtype
        assert torch.equal(inside[name], tensor), name
        assert inside[name].is_contiguous()
    again = load(tmp_path / "a.safetensors", "cpu")
    for name, tensor in again.state_dict().items():
        assert tensor.dtype == (torch.int64 if name.endswith("num_batches_tracked") else torch.float32)
        assert torch.equal(tensor, inside[name].to(tensor.dtype)), name


def test_no_file_is_left_half_written(tmp_path: Path, detector: PAA, monkeypatch: pytest.MonkeyPatch) -> None:
    detector.save(tmp_path / "a.safetensors")
    save_checkpoint(tmp_path / "a.pt", content(detector))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(before) == ["a.pt", "a.safetensors"]
    with pytest.raises((pickle.PicklingError, AttributeError)):
        save_checkpoint(tmp_path / "a.pt", {"cannot": lambda: None})

    def full(tensors: Any, path: Path, metadata: Any) -> None:
        Path(path).write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(own, "save_file", full)
    for name in ("a.safetensors", "new.safetensors"):
        with pytest.raises(RunError, match=f"{name}: cannot be written: No space left"):
            detector.save(tmp_path / name)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("model.pt", "a model is saved as safetensors: name it model.safetensors"),
        ("model", "a model is saved as safetensors: name it model.safetensors"),
        ("nowhere/model.safetensors", "there is no folder {folder}/nowhere"),
    ],
)
def test_names_under_which_no_model_is_saved(tmp_path: Path, detector: PAA, path: str, says: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        detector.save(tmp_path / path)
    assert str(caught.value) == f"{tmp_path / path}: {says.format(folder=tmp_path)}"
    assert list(tmp_path.iterdir()) == []


def test_training_state_is_part_of_a_checkpoint(detector: PAA) -> None:
    written = own.write(SMALL, NAMES, detector.state_dict(), {"step": 7})
    assert written["training"] == {"step": 7}
    assert own.recognises(Checkpoint("file", written))
    assert "training" not in own.write(SMALL, NAMES, {})
    assert own.read(Checkpoint("file", written)).names == NAMES


def test_without_names_nothing_is_saved(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="class names"):
        own.write(SMALL, (), {})
    with pytest.raises(ConfigError, match="class names"):
        own.write_model(tmp_path / "a.safetensors", SMALL, (), {"x": torch.zeros(1)}, {})
    assert list(tmp_path.iterdir()) == []


class RunsCode:
    """An object whose unpickling calls a function that the writer of the file chose."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.witness}'",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("zipped", [True, False])
def test_no_code_is_run(tmp_path: Path, zipped: bool, detector: PAA) -> None:
    witness, path = tmp_path / "witness", tmp_path / "evil.pth"
    harmless = content(detector, training=RunsCode(witness))
    torch.save(harmless, path, _use_new_zipfile_serialization=zipped)
    assert "would run code" in expect_one_line(path)
    assert not witness.exists()
    path.write_bytes(pickle.dumps(RunsCode(witness)))
    assert "would run code" in expect_one_line(path)
    assert not witness.exists()
    pickle.loads(path.read_bytes())  # it would have
    assert witness.exists()


def expect_one_line(path: Path, read: Callable[[Path], object] = read_weights) -> str:
    with pytest.raises(CheckpointError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 250
    return message


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello, this is a text\nof two lines\n",
        b"<!DOCTYPE html><html>Not found</html>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        b'{"format": "paa-1"}',
        b"\x89PNG\r\n\x1a\n" + bytes(40),
        b"PK\x03\x04" + bytes(60),
        b".",
        b"]",
        b"M_",
        b"\x80\x02\x8a",
        bytes(1000),
        bytes(range(256)),
    ],
    ids=lambda data: repr(data[:8]),
)
def test_files_that_are_no_checkpoints(tmp_path: Path, data: bytes) -> None:
    for name in ("odd.pth", "odd.safetensors"):
        (tmp_path / name).write_bytes(data)
        expect_one_line(tmp_path / name)


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_truncated_files(tmp_path: Path, form: str, detector: PAA) -> None:
    """As a broken download leaves them."""
    whole, tensors = tmp_path / "whole", {"head.scales": torch.ones(5)}
    if form == "safetensors":
        own.write_model(tmp_path / "whole.safetensors", SMALL, NAMES, tensors, {})
        whole = tmp_path / "whole.safetensors"
    else:
        torch.save(content(detector, model=tensors), whole, _use_new_zipfile_serialization=form == "zip")
    assert read_weights(whole).names == NAMES
    data, path = whole.read_bytes(), tmp_path / "cut.pth"
    for length in range(0, len(data), max(1, len(data) // 150)):
        path.write_bytes(data[:length])
        expect_one_line(path)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    assert "no such file" in expect_one_line(tmp_path / "nothing.pth")
    assert "a folder, not a file" in expect_one_line(tmp_path)


@pytest.mark.parametrize(
    "value",
    [[1, 2], torch.zeros(3), {}, {"state_dict": {}}, {"state_dict": 3}, {"format": "paa-0"}, {1: 2}, "text", None],
)
def test_harmless_files_of_other_content(tmp_path: Path, value: Any) -> None:
    torch.save(value, tmp_path / "other.pth")
    expect_one_line(tmp_path / "other.pth")


@pytest.mark.parametrize("key", ["config", "names", "model"])
def test_incomplete_own_files(tmp_path: Path, detector: PAA, key: str) -> None:
    part = content(detector)
    del part[key]
    torch.save(part, tmp_path / "part.pt")
    assert key in expect_one_line(tmp_path / "part.pt")


@pytest.mark.parametrize(
    "changes",
    [
        {"names": 5},
        {"names": ["cat"]},
        {"names": []},
        {"names": ["cat", "dog", 3]},
        {"model": None},
        {"model": {}},
        {"model": [1, 2]},
        {"config": None},
        {"config": {"backbone": "resnet1"}},
        {"config": {"colour": "red"}},
        {"config": {"channels": "many"}},
        {"config": {"channels": 2**40}},
        {"config": {"mean": "grey"}},
        {"config": {"channels": 64}},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_own_files_that_contradict_themselves(tmp_path: Path, detector: PAA, changes: dict[str, Any]) -> None:
    full = changes in ({"names": ["cat"]}, {"config": {"channels": 64}})  # else it is not the tensors that are at fault
    small = {} if full else {"model": {"head.scales": torch.ones(5)}}
    torch.save(content(detector, **{**small, **changes}), tmp_path / "odd.pt")
    with pytest.raises(PaaError) as caught:
        load(tmp_path / "odd.pt", device="cpu")
    assert str(caught.value).startswith(f"{tmp_path / 'odd.pt'}: ")
    assert "\n" not in str(caught.value)


OLD_NAMES = {"min_size": "test_short", "max_size": "test_longest"}
"""The fields of a model's configuration that version 0.1.0 wrote under other names."""


def renamed(values: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in values.items()}


@pytest.mark.parametrize("form", [".pt", ".safetensors"])
def test_files_with_the_names_of_version_0_1_0(tmp_path: Path, detector: PAA, form: str) -> None:
    config = dataclasses.replace(SMALL, min_size=96, max_size=160)
    old = renamed(to_dict(config), OLD_NAMES)
    assert (old["test_short"], old["test_longest"]) == (96, 160)
    path = tmp_path / f"old{form}"
    if form == ".pt":
        save_checkpoint(path, content(detector, config=old))
    else:
        save_file(detector.state_dict(), path, {"paa": about(config=old)})
    model = load(path, "cpu")
    assert model.config == config
    assert digests(model.state_dict()) == digests(detector.state_dict())
    model.save(tmp_path / "new.safetensors")
    with safe_open(str(tmp_path / "new.safetensors"), "pt") as file:
        assert json.loads(file.metadata()["paa"])["config"] == to_dict(config)


def test_settings_of_a_run_with_the_names_of_version_0_1_0() -> None:
    old = {
        "step": 3,
        "schedule": {"rate": 0.01, "decays": (4,)},
        "told": {
            "pictures": {"short_sides": [640, 800], "longest": 1333, "hflip": 0.5},
            "schedule": {"rate": 0.01, "bias_rate_factor": 2.0, "backbone_rate_factor": 0.1},
            "pictures of the data set": 8,
        },
        "optimizer": {"state": {0: {"exp_avg": 1}}, "param_groups": [{"lr": 0.01}]},
    }
    assert own.current_names(old) == {
        "step": 3,
        "schedule": {"lr": 0.01, "decays": (4,)},
        "run_config": {
            "augment": {"min_sizes": [640, 800], "max_size": 1333, "hflip": 0.5},
            "schedule": {"lr": 0.01, "bias_lr_factor": 2.0, "backbone_lr_factor": 0.1},
            "images of the data set": 8,
        },
        "optimizer": old["optimizer"],
    }
    assert own.current_names(own.current_names(old)) == own.current_names(old)


def about(**changes: Any) -> str:
    """Return the metadata of a model file with changed values; "left out" removes one."""
    values = {"version": 1, "config": to_dict(SMALL), "names": list(NAMES), "provenance": {}}
    return json.dumps({name: value for name, value in {**values, **changes}.items() if value != "left out"})


@pytest.mark.parametrize(
    ("described", "says"),
    [
        (about()[:-9], "its metadata is damaged (JSONDecodeError: "),
        ("", "its metadata is damaged (JSONDecodeError: "),
        ("[1]", "its metadata is damaged (TypeError: "),
        ("[" * 100_000, "its metadata is damaged ("),
        (about(version=2), "is of version 2, this program reads version 1: a newer program is needed"),
        (about(version="left out"), "its metadata is damaged (KeyError: 'version')"),
        (about(config="left out"), "its metadata is damaged (KeyError: 'config')"),
        (about(provenance="left out"), "its metadata is damaged (KeyError: 'provenance')"),
        (about(names="left out"), "its metadata is damaged (KeyError: 'names')"),
        (about(config=[1]), "its metadata is damaged: config and provenance are not dictionaries"),
        (about(provenance="here"), "its metadata is damaged: config and provenance are not dictionaries"),
        (about(config={**to_dict(SMALL), "colour": 1}), "model configuration has unknown fields: colour"),
        (about(config={**to_dict(SMALL), "two\nlines": 1}), "model configuration has unknown fields: two lines"),
        (about(config={**to_dict(SMALL), "norm": "none"}), "model.norm must be frozen, affine or batch, got none"),
        (about(config={**to_dict(SMALL), "channels": 0}), "model.channels must be from 1 to 10000, got 0"),
        (about(names=[]), "its class names are not a list of strings"),
        (about(names=["cat", 2, 3]), "its class names are not a list of strings"),
        (about(names=["cat", "dog"]), "2 misshapen (head.cls_logits.bias, head.cls_logits.weight)"),
        (about(names=list("four")), "2 misshapen (head.cls_logits.bias, head.cls_logits.weight)"),
        (about(config={**to_dict(SMALL), "tower_depth": 2}), "missing (head.box_tower.1.conv.bias, "),
    ],
    ids=lambda value: value[:60],
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_model_files_with_damaged_metadata(tmp_path: Path, detector: PAA, described: str, says: str) -> None:
    path, tensors = tmp_path / "odd.safetensors", {"head.scales": torch.ones(5)}
    if says.startswith(("2 misshapen", "missing")):  # else it is not the tensors that are at fault
        tensors = detector.state_dict()
    save_file(tensors, path, {"format": "pt", "paa": described})
    message = expect_one_line(path, lambda path: load(path, "cpu"))
    assert says in message


def test_a_model_file_without_metadata_is_of_no_format(tmp_path: Path, detector: PAA) -> None:
    save_file(detector.state_dict(), tmp_path / "odd.safetensors")
    assert "in none of the known formats" in expect_one_line(tmp_path / "odd.safetensors")


def test_tensors_that_do_not_fit_are_named(tmp_path: Path, detector: PAA) -> None:
    path = tmp_path / "odd.safetensors"
    for name, value, says in (
        ("fpn.p6.bias", None, "1 missing (fpn.p6.bias)"),
        ("fpn.p8.bias", torch.zeros(2), "1 left over (fpn.p8.bias)"),
        ("fpn.p6.bias", torch.zeros(2), "1 misshapen (fpn.p6.bias)"),
        ("fpn.p6.bias", torch.full((32,), float("inf")), "fpn.p6.bias is not finite"),
    ):
        tensors = {other: tensor for other, tensor in detector.state_dict().items() if other != name}
        own.write_model(path, SMALL, NAMES, tensors if value is None else {**tensors, name: value}, {})
        assert says in expect_one_line(path, lambda path: load(path, "cpu"))


def test_the_format_can_be_named(tmp_path: Path, detector: PAA) -> None:
    path = write(tmp_path / "a", detector, ".safetensors")
    assert load(path, "cpu", format="paa").names == NAMES
    with pytest.raises(CheckpointError, match=r"a\.safetensors: not in the format seed$"):
        load(path, "cpu", format="seed")
    assert read_file(path).kind == "safetensors"


def test_build_makes_the_class_that_is_asked_for(detector: PAA) -> None:
    weights = own.read(Checkpoint("file", content(detector)))
    assert type(build(weights, "file", Detector)) is Detector
    assert type(build(weights, "file", PAA)) is PAA
    other = dataclasses.replace(SMALL, channels=64)
    with pytest.raises(CheckpointError, match="misshapen"):
        build(weights._replace(config=other), "file", Detector)
