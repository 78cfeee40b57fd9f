from __future__ import annotations

import os
from pathlib import Path

import pytest

from paa.export.run import Evidence, export
from paa.weights.read import read_weights

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # test files may import ONNX Runtime before the project does


@pytest.fixture(scope="session")
def exported(checkpoint: Path, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an ONNX file of the checkpoint, which was kept because it detects the same."""
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    samples = sorted((shapes / "images").iterdir())[:3]
    written = export(checkpoint, read_weights(checkpoint), path, evidence=Evidence(samples))
    assert written.kept
    assert written.path == path
    assert written.samples.images == 3
    assert written.samples.detections > 20
    assert written.samples.alone == 0
    assert written.samples.box < 1e-3
    assert written.samples.score < 1e-5
    assert written.aps is None
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]
    return path
