from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import paa
from paa.export import choose, onnx_model
from paa.export.choose import open_exported
from paa.export.forms import openvino
from paa.export.run import Evidence, Exported, export
from paa.weights.read import read_weights
from tests.shared_files import made_once

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # test files may import ONNX Runtime before the project does


@pytest.fixture(scope="session")
def exported(checkpoint: Path, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an ONNX file of the checkpoint, which was kept because it detects the same."""

    def make(folder: Path) -> None:
        path = folder / "model.onnx"
        samples = sorted((shapes / "images").iterdir())[:3]
        written = export(checkpoint, read_weights(checkpoint), path, evidence=Evidence(samples))
        check(path, written)

    return made_once(tmp_path_factory, "exported", make) / "model.onnx"


def check(path: Path, written: Exported) -> None:
    """Fail unless the export was kept as it should be."""
    assert written.kept
    assert written.path == path
    assert written.samples.images == 3
    assert written.samples.detections > 20
    assert written.samples.alone == 0
    assert written.samples.box < 1e-3
    assert written.samples.score < 1e-5
    assert written.aps is None
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]


@pytest.fixture
def written(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter, which takes seconds, writes the ONNX file that it wrote before."""
    form = replace(choose.FORMS[".onnx"], write=lambda path, *_: path.write_bytes(exported.read_bytes()))
    monkeypatch.setitem(choose.FORMS, ".onnx", form)


@pytest.fixture(scope="session")
def traced(exported: Path) -> Callable[..., Any]:
    """Return a function in place of the one that traces a detector as ONNX: it gives the graph of `exported`."""
    onnx = pytest.importorskip("onnx")
    return lambda *_: onnx.load(exported)


@pytest.fixture(scope="session")
def openvino_file(exported: Path, traced: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the OpenVINO form of the same checkpoint; its graph is not traced anew."""
    pytest.importorskip("openvino")

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(onnx_model, "_to_onnx", traced)
            openvino.write(folder / "model.xml", paa.load(exported), open_exported(exported).description)
        assert sorted(file.name for file in folder.iterdir()) == ["model.bin", "model.xml"]

    return made_once(tmp_path_factory, "openvino", make) / "model.xml"


def batch(images: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images of noise, and sizes, most of them smaller than the images."""
    random = torch.Generator().manual_seed(images)
    noise = torch.randint(0, 256, (images, 3, height, width), dtype=torch.uint8, generator=random)
    return noise, torch.tensor([[height, width], [height - 7, width - 20], [height - 31, width]])[:images]
