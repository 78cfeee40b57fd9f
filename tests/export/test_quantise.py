"""INT8: only the network between its first and last convolutions, and detections close to those in float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import paa
from paa.config import LoadingConfig
from paa.data.read import read_dataset
from paa.export import onnx_model
from paa.export.calibration import Calibration
from paa.export.choose import open_exported
from paa.export.forms import openvino
from paa.export.proof import _compare
from paa.export.quantise import outside_convolutions

pytest.importorskip("nncf")


def calibration(shapes: Path, images: int) -> Calibration:
    return Calibration(read_dataset(shapes, "train"), images, loading=LoadingConfig(workers=0))


def test_calibration_images_are_what_the_graph_takes(exported: Path, shapes: Path) -> None:
    description = open_exported(exported).description
    chosen = calibration(shapes, 5)
    assert len(chosen) == len(chosen.chosen()) == 5
    assert len(calibration(shapes, 100)) == len(calibration(shapes, 100).chosen()) == 8
    feeds = list(chosen.feeds(description))
    assert len(feeds) == 5
    for feed in feeds:
        assert feed["images"].dtype == np.uint8
        assert feed["images"].shape[2] % 32 == feed["images"].shape[3] % 32 == 0
        assert feed["sizes"].min() == description.config.min_size
    for again, feed in zip(chosen.feeds(description), feeds, strict=True):
        assert np.array_equal(again["images"], feed["images"])
    resizing = replace(description, settings=replace(description.settings, resize=True))
    index = chosen.chosen()
    on_disk = []
    for i in range(len(index)):
        with Image.open(index.path(i)) as image:
            on_disk.append((image.height, image.width))
    originals = list(chosen.feeds(resizing))
    assert {name for feed in originals for name in feed} == {"images"}
    assert sorted(feed["images"].shape[2:] for feed in originals) == sorted(on_disk)


def test_boxes_and_scores_are_outside(openvino_file: Path) -> None:
    import openvino as library

    model = library.Core().read_model(str(openvino_file))
    outside = set(outside_convolutions(model))
    kinds = {op.get_friendly_name(): op.get_type_name() for op in model.get_ordered_ops()}
    assert "Convolution" not in {kinds[name] for name in outside}
    assert {"NonMaxSuppression", "TopK", "Exp", "Sigmoid"} <= {kinds[name] for name in outside}
    inside = {kind for name, kind in kinds.items() if name not in outside}
    assert {"Relu", "Add", "MaxPool"} <= inside
    assert not inside & {"NonMaxSuppression", "TopK", "Exp", "Sigmoid"}


def test_detections_are_close_to_those_in_float32(
    exported: Path,
    traced: Callable[..., Any],
    shapes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(onnx_model, "_to_onnx", traced)
    plain = paa.load(exported)
    description = replace(plain.graph.description, precision="int8")
    path = tmp_path / "model.xml"
    openvino.write(path, plain, description, calibration(shapes, 8))
    assert 'type="FakeQuantize"' in path.read_text()
    quantised = paa.load(path)
    images = sorted((shapes / "images").iterdir())
    pairs = [_compare(*found) for found in zip(quantised.predict(images), plain.predict(images), strict=True)]
    assert sum(pair.detections for pair in pairs) > 20
    assert sum(pair.alone for pair in pairs) < 0.5 * sum(pair.detections for pair in pairs)
    assert 1e-4 < np.median([pair.score for pair in pairs]) < 0.25
