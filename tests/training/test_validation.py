"""The numbers that a validation logs are those of the checkpoint that was saved with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from paa.commands.main import main
from paa.data.shapes import NAMES
from paa.model.cpu import winograd
from paa.model.detector import Detector
from paa.runtime.distributed import Process
from paa.training.run_folder import save_checkpoint
from paa.training.settings import TrainConfig
from paa.training.train import train
from paa.weights.formats import own
from tests.conftest import MODEL

CPU = Process(torch.device("cpu"))
WIDE = {"channels": 64, "norm": "batch", "min_size": 128, "max_size": 192}


@pytest.mark.parametrize("ema", [None, 0.5])
def test_what_is_logged_is_what_eval_says_of_the_checkpoint(
    tmp_path: Path, micro: Callable[..., TrainConfig], shapes: Path, monkeypatch: pytest.MonkeyPatch, ema: float | None
) -> None:
    """In a run wide enough for Winograd's convolutions, whose fused optimizer changes weights unseen by autograd."""
    transformed: list[int] = []
    transform = winograd.transform_kernel
    monkeypatch.setattr(winograd, "transform_kernel", lambda weight: transformed.append(1) or transform(weight))
    records: list[dict[str, Any]] = []

    def listen(record: dict[str, Any]) -> None:
        records.append(record)
        last = tmp_path / "run" / "last.pt"
        if last.exists():
            step = torch.load(last, weights_only=True)["training"]["step"]
            shutil.copy(last, tmp_path / f"{step}.pt")

    torch.manual_seed(0)
    detector = Detector(replace(MODEL, **WIDE), NAMES)
    torch.nn.init.normal_(detector.head.cls_logits.weight, std=0.3)
    torch.nn.init.constant_(detector.head.cls_logits.bias, -1)  # detects a lot, if little of it right
    save_checkpoint(tmp_path / "start.pt", own.write(detector.config, detector.names, detector.state_dict()))
    trained = {"optimizer": "adamw", "lr": 0.0005, "decays": (), "warmup_steps": 0}
    schedule = {"steps": 3, "frozen_stages": 0, "ema": ema, **trained}
    config = micro(
        tmp_path / "run",
        data={"val_split": "train"},
        init=str(tmp_path / "start.pt"),
        model=WIDE,
        augment={"min_sizes": (128,), "max_size": 192},
        schedule=schedule,
        validation={"batch_size": 2, "interval": 2},
    )
    run = train(config, CPU, listen)
    shutil.copy(run.last, tmp_path / "3.pt")
    assert len(transformed) > 20
    logged = {record["step"]: record for record in records if "AP" in record}
    assert list(logged) == [2, 3]
    for step, record in logged.items():
        output = tmp_path / f"evaluation-{step}"
        options = ["--data", shapes, "--split", "train", "--workers", 0, "--device", "cpu", "--output", output]
        main([str(word) for word in ["eval", tmp_path / f"{step}.pt", *options]])
        metrics = json.loads((output / "metrics.json").read_text())
        for name in ("AP", "AP50", "AR1", "AR100"):
            assert record[name] == pytest.approx(metrics[name], abs=1e-9), (step, name)
        assert record["AR100"] > 0
    assert len({record["AP"] for record in logged.values()}) == 2
