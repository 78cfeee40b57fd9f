"""A run stops at the first loss or weight that is infinite or NaN, and no checkpoint gets it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from paa.config import ModelConfig
from paa.data.batch import Batch
from paa.data.index import DatasetIndex
from paa.errors import RunError
from paa.model.detector import Detector
from paa.training import setup
from paa.training import train as engine
from paa.training.finite import FiniteCheck
from paa.training.run import Run
from paa.training.train import train
from tests.training.runs import CPU, Micro, differences, load, read_log


def detector() -> Detector:
    return Detector(ModelConfig(backbone="resnet18", channels=16, tower_depth=0), ("a",))


def check(last: Path | None = None) -> FiniteCheck:
    index = DatasetIndex.__new__(DatasetIndex)  # names the images of a loss, which no test here adds
    return FiniteCheck(index, CPU, last)


def test_weights_are_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the trained detector, and of the average too where that is evaluated."""
    trained, average = detector(), detector()
    looked: list[int] = []
    real = torch.Tensor.isfinite
    monkeypatch.setattr(torch.Tensor, "isfinite", lambda tensor: looked.append(id(tensor)) or real(tensor))
    check().before_saving(1, trained, trained)
    count = len(trained.state_dict())
    assert len(looked) == count
    check().before_saving(1, trained, average)
    assert len(looked) == 3 * count


def test_the_last_checkpoint_is_named_if_there_is_one(tmp_path: Path) -> None:
    spoilt, whole = detector(), detector()
    with torch.no_grad():
        spoilt.fpn.p6.weight[0, 0] = math.nan
    last = tmp_path / "last.pt"
    for detectors in ((spoilt, spoilt), (whole, spoilt)):
        with pytest.raises(
            RunError, match=r"^step 7 left fpn\.p6\.weight infinite or NaN\. No checkpoint was saved before;"
        ):
            check(last).before_saving(7, *detectors)
    last.write_bytes(b"")
    says = r"a lower learning rate \(schedule\.lr\) or clipped gradients \(schedule\.clip_norm\) may help"
    with pytest.raises(RunError, match=rf"infinite or NaN\. {last} is from an earlier step; {says}$"):
        check(last).before_saving(7, spoilt, spoilt)


def spoil(monkeypatch: pytest.MonkeyPatch, step: int, value: float) -> None:
    """Let the box loss of a step, counted from 0, be `value`."""
    real, calls = setup.paa_losses, iter(range(1000))

    def losses(*given: Any, **options: Any) -> Any:
        result = real(*given, **options)
        if next(calls) == step:
            result.losses["box"] = result.losses["box"] * value
        return result

    monkeypatch.setattr(setup, "paa_losses", losses)


@pytest.mark.parametrize(("value", "log_interval"), [(math.nan, 1), (math.inf, 100)])
def test_a_loss_that_is_not_finite(
    tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch, value: float, log_interval: int
) -> None:
    spoil(monkeypatch, 3, value)  # the fourth
    runtime = {"checkpoint_interval": 1, "log_interval": log_interval}
    with pytest.raises(RunError, match=r"the loss of step 4 is not finite .*images: \d+\.jpg, \d+\.jpg") as caught:
        train(micro(tmp_path / "run", schedule={"steps": 5}, runtime=runtime), CPU)
    assert "\n" not in str(caught.value)
    assert f"{tmp_path / 'run' / 'last.pt'} is from an earlier step; a lower learning rate" in str(caught.value)
    content = load(tmp_path / "run" / "last.pt")
    assert content["training"]["step"] == 3
    assert all(bool(tensor.isfinite().all()) for tensor in content["model"].values())
    if log_interval == 1:
        assert [record["step"] for record in read_log(tmp_path / "run" / "log.jsonl")] == [1, 2, 3]

    monkeypatch.undo()
    resumed = train(micro(tmp_path / "run", resume="last", schedule={"steps": 5}, runtime=runtime), CPU)
    whole = train(micro(tmp_path / "whole", schedule={"steps": 5}, runtime=runtime), CPU)
    assert differences(load(resumed.last), load(whole.last)) == []


def test_a_weight_that_is_not_finite_is_not_saved(
    tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = engine.train_step, iter(range(1000))

    def train_step(run: Run, parts: Sequence[Batch]) -> Any:
        result = real(run, parts)
        if next(calls) == 2:
            with torch.no_grad():
                run.state.detector.fpn.p6.weight[0, 0] = math.inf
        return result

    monkeypatch.setattr(engine, "train_step", train_step)
    with pytest.raises(RunError, match=r"step 3 left fpn\.p6\.weight infinite or NaN"):
        train(micro(tmp_path / "run", runtime={"checkpoint_interval": 1}), CPU)
    assert load(tmp_path / "run" / "last.pt")["training"]["step"] == 2


def test_an_average_that_is_not_finite_is_not_saved(
    tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step's infinite weight stays in the average."""
    real, calls = engine.train_step, iter(range(1000))

    def train_step(run: Run, parts: Sequence[Batch]) -> Any:
        call, weight = next(calls), run.state.detector.fpn.p6.weight
        with torch.no_grad():
            weight.nan_to_num_(0, 0, 0)
            result = torch.enable_grad()(real)(run, parts)
            weight[0, 0] = math.inf if call == 1 else 0
        return result

    monkeypatch.setattr(engine, "train_step", train_step)
    shared: dict[str, Any] = {"runtime": {"checkpoint_interval": 3}, "schedule": {"steps": 3}}
    train(micro(tmp_path / "run", **shared), CPU)
    shared["schedule"]["ema"] = 0.9
    calls = iter(range(1000))
    says = r"step 3 left fpn\.p6\.weight infinite or NaN\. No checkpoint was saved before; a lower"
    with pytest.raises(RunError, match=says):
        train(micro(tmp_path / "averaged", **shared), CPU)
    assert not (tmp_path / "averaged" / "last.pt").exists()
