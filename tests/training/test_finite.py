from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from paa.config import ModelConfig
from paa.data.index import DatasetIndex
from paa.errors import RunError
from paa.model.detector import Detector
from paa.runtime.distributed import Process
from paa.training.finite import FiniteCheck


def detector() -> Detector:
    return Detector(ModelConfig(backbone="resnet18", channels=16, tower_depth=0), ("a",))


def check(last: Path | None = None) -> FiniteCheck:
    index = DatasetIndex.__new__(DatasetIndex)  # names the images of a loss, which no test here adds
    return FiniteCheck(index, Process(torch.device("cpu")), last)


def test_weights_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the evaluated detector is the trained one, and in both where it is their average."""
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
            RunError, match=r"^step 7 made fpn\.p6\.weight not finite\. No checkpoint was saved before;"
        ):
            check(last).before_saving(7, *detectors)
    last.write_bytes(b"")
    says = r"a lower learning rate \(schedule\.lr\) or clipped gradients \(schedule\.clip_norm\) may help"
    with pytest.raises(RunError, match=rf"not finite\. {last} is from before; {says}$"):
        check(last).before_saving(7, spoilt, spoilt)
