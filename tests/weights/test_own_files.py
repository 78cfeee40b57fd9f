"""This project's files, and files that are nobody's: one line that says so, and no code run."""

from __future__ import annotations

import dataclasses
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from paa.config import ModelConfig
from paa.engine.run_folder import save_checkpoint
from paa.errors import CheckpointError, PaaError
from paa.model.detector import Detector
from paa.predictor import PAA, load
from paa.weights import own
from paa.weights.read import build, load_file, read_weights

SMALL = ModelConfig(backbone="resnet18", norm="batch", channels=32, tower_depth=1, mean=(1.0, 2.0, 3.0))
NAMES = ("cat", "Hund", "鳥")


@pytest.fixture(scope="module")
def detector() -> PAA:
    torch.manual_seed(0)
    return PAA(SMALL, NAMES)


def content(detector: Detector, **changes: Any) -> dict[str, Any]:
    return {**own.write(detector.config, detector.names, detector.state_dict()), **changes}


def test_round_trip(tmp_path: Path, detector: PAA) -> None:
    detector.train()(torch.zeros(2, 3, 64, 64, dtype=torch.uint8), torch.tensor([[64, 64]] * 2))  # moves the statistics
    detector.save(tmp_path / "a.pt")
    weights = read_weights(tmp_path / "a.pt")
    assert weights.config == SMALL
    assert weights.names == NAMES
    assert weights.num_classes == 3
    again = load(tmp_path / "a.pt", device="cpu")
    assert isinstance(again, PAA)
    assert not again.training
    assert again.names == NAMES
    before, after = detector.state_dict(), again.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(before[name].dtype == after[name].dtype for name in before)
    images, sizes = torch.full((1, 3, 64, 64), 7, dtype=torch.uint8), torch.tensor([[64, 64]])
    detector.eval()
    with torch.inference_mode():
        assert torch.equal(again(images, sizes).cls_logits, detector(images, sizes).cls_logits)
    again.save(tmp_path / "b.pt")
    assert all(torch.equal(value, before[name]) for name, value in read_weights(tmp_path / "b.pt").tensors.items())


def test_no_file_is_left_half_written(tmp_path: Path, detector: PAA) -> None:
    detector.save(tmp_path / "a.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]
    with pytest.raises((pickle.PicklingError, AttributeError)):
        save_checkpoint(tmp_path / "a.pt", {"cannot": lambda: None})
    assert read_weights(tmp_path / "a.pt").names == NAMES


def test_training_state_goes_along(detector: PAA) -> None:
    written = own.write(SMALL, NAMES, detector.state_dict(), {"step": 7})
    assert written["training"] == {"step": 7}
    assert own.recognises(written)
    assert "training" not in own.write(SMALL, NAMES, {})
    assert own.read(written).names == NAMES


def test_without_names_nothing_is_saved() -> None:
    with pytest.raises(CheckpointError, match="class names"):
        own.write(SMALL, (), {})


class RunsCode:
    """Unpickling it calls a function of the writer's choice."""

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
    expect_one_line(path)
    assert not witness.exists()
    path.write_bytes(pickle.dumps(RunsCode(witness)))
    expect_one_line(path)
    assert not witness.exists()
    pickle.loads(path.read_bytes())  # it would have
    assert witness.exists()


def expect_one_line(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_weights(path)
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
    path = tmp_path / "odd.pth"
    path.write_bytes(data)
    expect_one_line(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_files(tmp_path: Path, zipped: bool, detector: PAA) -> None:
    """As a broken download leaves them."""
    small = content(detector, model={"head.scales": torch.ones(5)})
    torch.save(small, tmp_path / "whole.pth", _use_new_zipfile_serialization=zipped)
    assert load_file(tmp_path / "whole.pth")["names"] == list(NAMES)
    whole = (tmp_path / "whole.pth").read_bytes()
    path = tmp_path / "cut.pth"
    for length in range(0, len(whole), max(1, len(whole) // 150)):
        path.write_bytes(whole[:length])
        expect_one_line(path)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    assert "no such file" in expect_one_line(tmp_path / "nothing.pth")
    expect_one_line(tmp_path)


@pytest.mark.parametrize(
    "value",
    [[1, 2], torch.zeros(3), {}, {"state_dict": {}}, {"state_dict": 3}, {"format": "paa-0"}, {1: 2}, "text", None],
)
def test_safe_files_of_other_things(tmp_path: Path, value: Any) -> None:
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
        {"model": None},
        {"model": {}},
        {"model": [1, 2]},
        {"config": None},
        {"config": {"backbone": "resnet1"}},
        {"config": {"colour": "red"}},
        {"config": {"channels": "many"}},
        {"config": {"mean": "grey"}},
        {"config": {"channels": 64}},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_own_files_that_contradict_themselves(tmp_path: Path, detector: PAA, changes: dict[str, Any]) -> None:
    torch.save(content(detector, **changes), tmp_path / "odd.pt")
    with pytest.raises(PaaError) as caught:
        load(tmp_path / "odd.pt", device="cpu")
    assert "\n" not in str(caught.value)


def test_build_makes_the_kind_that_is_asked_for(detector: PAA) -> None:
    weights = own.read(content(detector))
    assert type(build(weights, "file", Detector)) is Detector
    assert type(build(weights, "file", PAA)) is PAA
    other = dataclasses.replace(SMALL, channels=64)
    with pytest.raises(CheckpointError, match="misshapen"):
        build(weights._replace(config=other), "file", Detector)
