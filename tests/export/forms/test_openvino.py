"""The OpenVINO form detects as its checkpoint does; damaged files, and files that do not fit, are one clear error."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import paa
from paa.config import InferenceConfig
from paa.errors import CheckpointError
from paa.export.choose import open_exported
from tests.export.conftest import batch

openvino = pytest.importorskip("openvino")


@pytest.mark.parametrize("shape", [(1, 32, 32), (2, 96, 64), (3, 64, 160)], ids=str)
def test_it_detects_as_the_network_does_at_any_size(
    openvino_file: Path, checkpoint: Path, shape: tuple[int, int, int]
) -> None:
    images, sizes = batch(*shape)
    ours = open_exported(openvino_file).detect(images, sizes, InferenceConfig())
    eager = paa.load(checkpoint, "cpu").detect(images, sizes)
    assert (eager.labels[0] >= 0).sum() >= 1
    assert torch.equal(ours.labels, eager.labels)
    # tighter than bfloat16, in which OpenVINO by itself would compute on some processors
    torch.testing.assert_close(ours.scores, eager.scores, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.boxes, eager.boxes, rtol=0, atol=1e-2)


def test_it_is_a_model_without_a_network(openvino_file: Path, exported: Path, shapes: Path) -> None:
    model = paa.load(str(openvino_file))
    assert not list(model.parameters())
    assert model.graph.description == open_exported(exported).description
    images = sorted((shapes / "images").iterdir())
    for ours, theirs in zip(model.predict(images, batch_size=3), paa.load(exported).predict(images), strict=True):
        assert np.array_equal(ours.labels, theirs.labels)
        np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=0.01)


def remove_weights(graph: Path, weights: Path) -> None:
    weights.unlink()


def cut_weights(graph: Path, weights: Path) -> None:
    weights.write_bytes(weights.read_bytes()[:1000])


def change_weights(graph: Path, weights: Path) -> None:
    """As those of another run: as many, and others."""
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)


def cut_graph(graph: Path, weights: Path) -> None:
    graph.write_text(graph.read_text()[:2000])


def write_annotation(graph: Path, weights: Path) -> None:
    graph.write_text("<annotation><filename>a.jpg</filename></annotation>")


def remove_description(graph: Path, weights: Path) -> None:
    graph.write_text(re.sub(r"<paa [^>]*/>", "", graph.read_text()))


def remove_digest(graph: Path, weights: Path) -> None:
    graph.write_text(re.sub(r"<paa_weights [^>]*/>", "", graph.read_text()))


def damage_description(graph: Path, weights: Path) -> None:
    graph.write_text(graph.read_text().replace("&quot;version&quot;: 1", "&quot;version&quot;: x"))


def nest_description(graph: Path, weights: Path) -> None:
    graph.write_text(re.sub(r"<paa [^>]*/>", '<paa><inner value="1" /></paa>', graph.read_text()))


def claim_fewer_classes(graph: Path, weights: Path) -> None:
    graph.write_text(graph.read_text().replace("[&quot;circle&quot;, ", "["))


def claim_resizing(graph: Path, weights: Path) -> None:
    graph.write_text(graph.read_text().replace("&quot;resize&quot;: false", "&quot;resize&quot;: true"))


def pass_for_onnx(graph: Path, weights: Path) -> None:
    """A model that OpenVINO reads whatever its name ends with, together with the file that it names."""
    onnx = pytest.importorskip("onnx")
    values = [onnx.helper.make_tensor_value_info(name, 1, [6]) for name in ("images", "boxes")]
    hidden = onnx.TensorProto(name="w", dims=[6], data_type=1, data_location=onnx.TensorProto.EXTERNAL)
    hidden.external_data.add(key="location", value="secret")
    (graph.parent / "secret").write_bytes(bytes(24))
    node = onnx.helper.make_node("Add", ["images", "w"], ["boxes"])
    content = onnx.helper.make_graph([node], "g", values[:1], values[1:], [hidden])
    model = onnx.helper.make_model(content, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    model.doc_string = f'<paa_weights value="{hashlib.sha256(weights.read_bytes()).hexdigest()}"'
    graph.write_bytes(model.SerializeToString())
    openvino.Core().read_model(str(graph), str(weights))  # OpenVINO has nothing against it


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (pass_for_onnx, "damaged, or no OpenVINO model .it is not XML"),
        (remove_weights, "its weights are missing: model.bin belongs beside it"),
        (cut_weights, "model.bin has weights of another export"),
        (remove_digest, "it does not say which weights belong to it"),
        (change_weights, "model.bin has weights of another export"),
        (cut_graph, "damaged, or no OpenVINO model"),
        (write_annotation, "damaged, or no OpenVINO model"),
        (remove_description, "an OpenVINO model that this project did not export"),
        (damage_description, "its description is damaged"),
        (nest_description, "an OpenVINO model that this project did not export"),
        (claim_fewer_classes, "a label that is none of its classes"),
        (claim_resizing, "inputs and outputs are not those"),
    ],
)
def test_files_that_do_not_fit_are_one_clear_error(
    openvino_file: Path, shapes: Path, tmp_path: Path, change: Callable[[Path, Path], None], words: str
) -> None:
    path, weights = tmp_path / "model.xml", tmp_path / "model.bin"
    for file in (path, weights):
        shutil.copy(openvino_file.with_suffix(file.suffix), file)
    before = path.read_bytes(), weights.read_bytes()
    change(path, weights)
    assert not weights.exists() or (path.read_bytes(), weights.read_bytes()) != before
    with pytest.raises(CheckpointError, match=words) as caught:
        paa.load(path).predict(sorted((shapes / "images").iterdir()))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
