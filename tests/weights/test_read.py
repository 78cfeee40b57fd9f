"""Which format reads a file, and how one is added."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
import torch

from paa.config import ModelConfig, WeightsFormat
from paa.errors import CheckpointError, ConfigError
from paa.model.detector import Detector
from paa.weights.read import FORMATS, read_start, read_weights
from paa.weights.state import Checkpoint, Weights


def test_every_format_can_be_named() -> None:
    assert set(FORMATS) == set(get_args(WeightsFormat))


def read_mine(file: Checkpoint) -> Weights:
    if "mine.bad" in file.state:
        raise ConfigError("is a bad one")
    config = ModelConfig("resnet18", channels=16, tower_depth=1)
    tensors = {name.removeprefix("mine."): tensor for name, tensor in file.state.items()}
    return Weights(config, ("a",), 1, tensors, {"format": "mine"})


def test_a_new_format_takes_two_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = SimpleNamespace(recognises=lambda file: all(name.startswith("mine.") for name in file.state), read=read_mine)
    monkeypatch.setitem(FORMATS, "mine", mine)
    detector = Detector(ModelConfig("resnet18", channels=16, tower_depth=1), ("a",))
    state = {f"mine.{name}": tensor for name, tensor in detector.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "a.pth")
    weights = read_weights(tmp_path / "a.pth")
    assert weights.tensors.keys() == detector.state_dict().keys()
    assert weights.source == str(tmp_path / "a.pth")
    assert weights.provenance == {"file": "a.pth", "format": "mine"}
    assert read_start(str(tmp_path / "a.pth"), "resnet50").source == weights.source
    torch.save({"mine.bad": torch.zeros(1)}, tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match=r"b\.pth: is a bad one$"):
        read_weights(tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth: not in the format seed$"):
        read_weights(tmp_path / "a.pth", "seed")


def test_formats_that_do_not_exist(tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth: not in the format nonsense$"):
        read_weights(tmp_path / "a.pth", "nonsense")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ({"model": {"a": 1}, "epoch": 3}, {"a": 1}),
        ({"state_dict": {"module.a": 1, "module.b": 2}}, {"a": 1, "b": 2}),
        ({"module.a": 1, "b": 2}, {"module.a": 1, "b": 2}),
        ({"model": 3, "a": 1}, {"model": 3, "a": 1}),
    ],
)
def test_the_state_dict_in_a_checkpoint(values: dict[str, object], state: dict[str, object]) -> None:
    assert dict(Checkpoint("file", values).state) == state
