from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import paa
from paa.commands import run_demo as demo
from paa.commands.main import main
from paa.data.shapes import make_shapes
from paa.errors import RunError
from paa.runtime.distributed import Process

CPU = Process(torch.device("cpu"))


def small(folder: Path, images: int) -> Path:
    return make_shapes(folder, images, size=(64, 96))


def test_demo_writes_all_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "make_shapes", small)
    heard: list[dict[str, Any]] = []
    metrics, seconds = demo.run_demo(tmp_path / "demo", CPU, heard.append, images=10, steps=2)
    folder = tmp_path / "demo"
    for name in (
        "shapes/train.json",
        "shapes/val.json",
        "shapes/images/000009.jpg",
        "run/config.json",
        "run/log.jsonl",
        "run/last.pt",
        "evaluation/metrics.json",
        "evaluation/results.json",
        "evaluation/report.md",
    ):
        assert (folder / name).stat().st_size > 0, name
    for name in ("training.png", "evaluation/precision_recall.png", "evaluation/sheet.jpg"):
        with Image.open(folder / name) as image:
            assert min(image.size) > 100
    assert seconds > 0
    assert json.loads((folder / "evaluation" / "metrics.json").read_text())["AP"] == metrics["AP"]
    assert {c.name for c in metrics.classes} == {"circle", "square", "triangle", "star"}
    assert heard[-1]["step"] == 2
    assert paa.load(folder / "run" / "last.pt", "cpu").config.min_size == 160
    with pytest.raises(RunError, match="exists and is not empty; remove it or give another --output"):
        demo.run_demo(folder, CPU, heard.append, images=10, steps=2)


def test_demo_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "make_shapes", small)
    main(["demo", "--output", str(tmp_path / "demo"), "--images", "5", "--steps", "1", "--device", "cpu"])
    printed = capsys.readouterr().out
    assert f"images beside the truth: {tmp_path / 'demo' / 'evaluation' / 'sheet.jpg'}" in printed
    assert "validation set of shapes" in printed
    assert "training and evaluation took" in printed
