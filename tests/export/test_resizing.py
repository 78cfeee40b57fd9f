"""A graph that resizes gives the boxes of the one that does not, in the pixels of the original images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import paa
from paa.config import InferenceConfig
from paa.data.transforms import Resize
from paa.export.choose import open_exported
from paa.export.description import KEY, from_json, to_json
from paa.export.resizing import with_resizing
from paa.export.session import ExportedGraph

onnx = pytest.importorskip("onnx")


@pytest.fixture(scope="module", params=[False, True], ids=["continuous", "legacy"])
def resizing(exported: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Return the file of a graph that resizes, made from the one that does not; legacy: with its boxes' conventions."""
    model = onnx.load(exported)
    plain = open_exported(exported).description
    config = replace(plain.config, legacy=request.param)
    description = replace(plain, config=config, settings=replace(plain.settings, resize=True))
    whole = with_resizing(model, config)
    del whole.metadata_props[:]
    whole.metadata_props.add(key=KEY, value=to_json(description))
    path = tmp_path_factory.mktemp("resizing") / "model.onnx"
    path.write_bytes(whole.SerializeToString())
    return path


@pytest.mark.parametrize(
    "size", [(64, 96), (96, 64), (48, 48), (33, 200), (301, 40), (240, 323), (7, 5), (1, 900)], ids=str
)
def test_boxes_are_those_of_resizing_outside(resizing: Path, exported: Path, size: tuple[int, int]) -> None:
    ours, plain = paa.load(resizing), paa.load(exported)
    plain.config = ours.config
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    image = np.repeat(np.repeat(image, 4, 0), 4, 1)[: size[0], : size[1]]  # detail that survives resizing
    found, expected = ours.predict(image), plain.predict(image)
    assert len(expected) > 0
    # a pixel in some hundred differs by 1 of 255, since Pillow and torch compute with integers
    assert abs(len(found) - len(expected)) <= 1
    same = min(len(found), len(expected))
    np.testing.assert_allclose(found.scores[:same], expected.scores[:same], atol=0.01)
    assert (found.boxes >= 0).all()
    assert (found.boxes <= np.float32([size[1], size[0]] * 2)).all()
    close = np.abs(found.boxes[:same] - expected.boxes[:same]).max(1) < 0.02 * max(size)
    assert close.mean() > 0.8


def test_the_sizes_are_those_of_the_project(resizing: Path) -> None:
    """The sizes inside the graph, for many sizes of images."""
    model = onnx.load(resizing)
    description = from_json(model.metadata_props[0].value)
    config = description.config
    sizes_inside = onnx.helper.make_tensor_value_info("prepared_sizes", onnx.TensorProto.INT64, None)
    model.graph.value_info.append(sizes_inside)  # which older versions of the extractor do not infer
    only = onnx.utils.Extractor(model).extract_model(["images"], ["prepared_sizes"])
    session = pytest.importorskip("onnxruntime").InferenceSession(only.SerializeToString())
    size_of = Resize(config.min_size, config.max_size).size_of
    random = np.random.default_rng(0)
    sizes = [*random.integers(1, 400, (60, 2)).tolist(), [1, 399], [64, 96], [500, 333], [1000, 1], [333, 500]]
    for height, width in sizes:
        given = np.zeros((2, 3, height, width), np.uint8)
        assert session.run(None, {"images": given})[0].tolist() == [list(size_of(height, width))] * 2


def test_a_batch_of_images_of_one_size(resizing: Path) -> None:
    graph: ExportedGraph = open_exported(resizing)
    images = torch.randint(0, 256, (3, 3, 70, 110), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    sizes = torch.tensor([[70, 110], [60, 110], [70, 90]])
    together = graph.detect(images, sizes, InferenceConfig(max_detections=20))
    assert together.labels.shape == (3, 20)
    for b, (height, width) in enumerate(sizes.tolist()):
        alone = graph.detect(
            images[b : b + 1, :, :height, :width], sizes[b : b + 1], InferenceConfig(max_detections=20)
        )
        assert torch.equal(together.boxes[b], alone.boxes[0])
