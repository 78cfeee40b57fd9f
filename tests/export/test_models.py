"""Models of every kind can be exported: deformable convolutions, timm's backbones, the seed's conventions, P2.

The graph from P2 is run by torch: to export it takes a minute and a half.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from paa.config import InferenceConfig, ModelConfig
from paa.core import DetectedBatch
from paa.detections import Detections
from paa.export.description import Description, GraphSettings
from paa.export.forms import onnx
from paa.export.graph import DetectionGraph
from paa.export.proof import _compare
from paa.model.detector import Detector


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        ({"backbone": "resnet50", "dcn_stages": (5,), "tower_dcn": True, "legacy": True, "bgr": True}, {}),
        ({"backbone": "timm/tf_efficientnet_lite0", "norm": "affine"}, {"voting": False, "max_detections": 30}),
    ],
    ids=["deformable", "timm"],
)
def test_outputs_equal_the_networks(config: dict[str, Any], settings: dict[str, Any], tmp_path: Path) -> None:
    if config["backbone"].startswith("timm/"):
        pytest.importorskip("timm")
    detector, fixed = make_detector(**config), GraphSettings(**settings)
    onnx.write(tmp_path / "model.onnx", detector, Description(detector.names, detector.config, fixed))
    graph = onnx.open(tmp_path / "model.onnx")
    for images, sizes in batches():
        ours = graph.detect(images, sizes, fixed.inference())
        check_same(ours, detector.detect(images, sizes, InferenceConfig(**settings)), detector.names)


def test_the_graph_from_p2() -> None:
    detector, settings = make_detector(backbone="resnet18", first_level=2).eval(), GraphSettings()
    graph = DetectionGraph(detector, settings)
    for images, sizes in batches():
        with torch.inference_mode():
            ours = DetectedBatch(*graph(images, sizes))
        check_same(ours, detector.detect(images, sizes, settings.inference()), detector.names)


def make_detector(**config: Any) -> Detector:
    """Return a small detector that finds a lot."""
    torch.manual_seed(0)
    detector = Detector(ModelConfig(channels=16, tower_depth=1, **config), ("a", "b", "c"))
    torch.nn.init.normal_(detector.head.cls_logits.weight, std=0.3)
    torch.nn.init.normal_(detector.head.deltas.weight, std=0.05)
    torch.nn.init.constant_(detector.head.cls_logits.bias, -1)
    for name, parameter in detector.named_parameters():
        if ".offset." in name:  # at first zero, which would make a deformable convolution a plain one
            torch.nn.init.normal_(parameter, std=0.05)
    return detector


def batches() -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images of noise, and their sizes."""
    for shape in ((1, 3, 64, 96), (2, 3, 160, 128)):
        images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(shape[0]))
        sizes = torch.tensor([[shape[2] - 5, shape[3]]] * shape[0])
        yield images, sizes


def check_same(ours: DetectedBatch, eager: DetectedBatch, names: tuple[str, ...]) -> None:
    """Fail unless a graph found what the network finds."""
    assert (eager.labels >= 0).sum() > 10
    for image in range(len(eager.labels)):
        found = _compare(*(_detections(batch, image, names) for batch in (ours, eager)))
        # scores that are equal but for their last digits may change places, at the end of the list with a lost one
        assert found.alone <= 2
        assert found.score < 1e-4
        assert found.box < 0.02


def _detections(batch: DetectedBatch, image: int, names: tuple[str, ...]) -> Detections:
    valid = batch.labels[image] >= 0
    return Detections(*(column[image][valid].numpy() for column in batch), names)
