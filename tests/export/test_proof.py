from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import paa
from paa.config import InferenceConfig, LoadingConfig
from paa.data.read import read_dataset
from paa.detections import Detections
from paa.export import run
from paa.export.proof import SampleDifferences, _compare, compare_aps, compare_samples
from paa.export.run import Evidence, export
from paa.weights.read import read_weights


def detections(*rows: tuple[float, int, float]) -> Detections:
    """Detections (x, label, score): squares of 10 pixels at x."""
    boxes = np.float32([[x, 0, x + 10, 10] for x, _, _ in rows]).reshape(-1, 4)
    return Detections(boxes, np.float32([s for *_, s in rows]), np.int64([label for _, label, _ in rows]), ("a", "b"))


def test_counterparts_are_found_in_any_order() -> None:
    one = detections((0, 0, 0.9), (50, 1, 0.8), (100, 0, 0.5))
    other = detections((50.5, 1, 0.9), (0.25, 0, 0.85), (200, 0, 0.4), (50, 0, 0.3))
    found = _compare(one, other)
    assert (found.detections, found.alone) == (2, 3)
    assert found.box == pytest.approx(0.5)
    assert found.score == pytest.approx(0.1)
    assert not found.small


def test_no_detections_are_no_difference() -> None:
    assert _compare(detections(), detections()) == SampleDifferences(1, 0, 0.0, 0.0, 0)
    assert _compare(detections(), detections((0, 0, 0.5))) == SampleDifferences(1, 0, 0.0, 0.0, 1)
    assert not _compare(detections(), detections((0, 0, 0.5))).small


def test_a_changed_model_is_seen(checkpoint: Path, shapes: Path) -> None:
    one, other = paa.load(checkpoint, "cpu"), paa.load(checkpoint, "cpu")
    images = sorted((shapes / "images").iterdir())
    same = compare_samples(one, other, images, InferenceConfig())
    assert (same.images, same.box, same.score, same.alone) == (len(images), 0, 0, 0)
    other.head.scales.data *= 1.3
    assert not compare_samples(one, other, images, InferenceConfig()).small
    index = read_dataset(shapes, "train")
    aps = compare_aps(one, other, index, InferenceConfig(), LoadingConfig(workers=0))
    assert aps[0] != aps[1]
    assert min(aps) >= 0


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize("evidence", ["samples", "data"])
def test_a_model_that_differs_is_left_aside(
    evidence: str, exported: Path, checkpoint: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "compare_aps", lambda *_: (50.0, 49.8))
    if evidence == "samples":
        monkeypatch.setattr(run, "compare_samples", lambda *_: SampleDifferences(1, 10, 2.0, 0.0, 0))
    index = read_dataset(shapes, "train") if evidence == "data" else None
    path = tmp_path / "model.onnx"
    path.write_text("earlier")
    weights = read_weights(checkpoint)
    written = export(checkpoint, weights, path, evidence=Evidence(index=index, tolerance=0.1))
    assert not written.kept
    assert written.path == tmp_path / "model.unproven.onnx"
    assert written.path.read_bytes() == exported.read_bytes()
    assert path.read_text() == "earlier"
    if index is not None:
        assert export(checkpoint, weights, path, evidence=Evidence(index=index, tolerance=0.3)).kept
        assert path.read_bytes() == exported.read_bytes()
        assert not written.path.exists()


@pytest.mark.usefixtures("written")
def test_nothing_is_left_where_the_comparison_fails(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(paa.PaaError, match="missing"):
        export(checkpoint, read_weights(checkpoint), tmp_path / "a.onnx", evidence=Evidence([tmp_path / "missing.jpg"]))
    assert not list(tmp_path.iterdir())
