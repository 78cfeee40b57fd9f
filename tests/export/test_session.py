"""An exported file detects as its checkpoint does; a file that is damaged or hostile is one clear error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import paa
from paa.config import InferenceConfig
from paa.errors import CheckpointError, ConfigError, RunError
from paa.export.choose import open_exported
from paa.export.description import from_json

onnx = pytest.importorskip("onnx")
PHOTOS = Path(__file__).parents[3] / "shared" / "data" / "bccd" / "JPEGImages"


@pytest.mark.parametrize("shape", [(1, 32, 32), (2, 96, 64), (3, 64, 160), (1, 256, 352)], ids=str)
def test_it_detects_as_the_network_does_at_any_size(exported: Path, checkpoint: Path, shape: tuple[int, ...]) -> None:
    images, height, width = shape
    random = torch.Generator().manual_seed(images)
    batch = torch.randint(0, 256, (images, 3, height, width), dtype=torch.uint8, generator=random)
    sizes = torch.tensor([[height, width], [height - 7, width - 20], [height - 31, width]])[:images]
    ours = open_exported(exported).detect(batch, sizes, InferenceConfig())
    eager = paa.load(checkpoint, "cpu").detect(batch, sizes)
    assert (eager.labels[0] >= 0).sum() >= 1
    assert torch.equal(ours.labels, eager.labels)
    torch.testing.assert_close(ours.scores, eager.scores, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.boxes, eager.boxes, rtol=0, atol=1e-2)


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the data sets are not beside the repository (../shared/data)")
def test_it_predicts_as_the_checkpoint_does_on_photos(exported: Path, checkpoint: Path) -> None:
    photos = sorted(PHOTOS.iterdir())[:4]
    model, eager = paa.load(exported), paa.load(checkpoint, "cpu")
    for ours, theirs in zip(model.predict(photos, batch_size=2), eager.predict(photos), strict=True):
        assert len(theirs) > 10
        assert np.array_equal(ours.labels, theirs.labels)
        np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=0.05)
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)


def test_an_image_without_detections(exported: Path) -> None:
    model = paa.load(exported)
    image = np.zeros((64, 96, 3), np.uint8)
    assert len(model.predict(image, threshold=1.0)) == 0
    assert len(model.predict([], batch_size=3)) == 0


def test_it_is_a_model_without_a_network(exported: Path, checkpoint: Path, shapes: Path, tmp_path: Path) -> None:
    model = paa.load(str(exported))
    assert isinstance(model, paa.PAA)
    assert model.names == paa.load(checkpoint, "cpu").names
    assert not list(model.parameters())
    assert len(model.provenance["sha256"]) == 64
    assert (model.card, model.frozen_stages) == (None, 0)
    image = next((shapes / "images").iterdir())
    assert model.optimise().predict(image, limit=5) == model.predict(image)[:5]
    for call, words in (
        (lambda: model.save(tmp_path / "a.safetensors"), "cannot be saved"),
        (lambda: model.load_state_dict({}), "cannot load other weights"),
        (model.train, "cannot be trained"),
        (lambda: model.freeze(1), "cannot be trained"),
        (lambda: model(torch.zeros(1), torch.zeros(1)), "not the outputs of the head"),
        (lambda: model.optimise("bfloat16"), "float32"),
        (lambda: model.predict(image, voting=False), "voting is True in the exported graph"),
        (lambda: model.predict(image, threshold=0.02), "candidate_threshold is 0.05"),
        (lambda: paa.load(exported, "tpu"), "unknown device"),
    ):
        with pytest.raises((ConfigError, CheckpointError, RunError), match=words):
            call()


def test_tiles_and_views_work_as_with_a_checkpoint(exported: Path, checkpoint: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    model, eager = paa.load(exported), paa.load(checkpoint, "cpu")
    ours, theirs = (each.predict(image, tiles=64) for each in (model, eager))
    assert len(theirs) > 10
    assert np.array_equal(ours.labels, theirs.labels)
    np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=0.05)


def add_external_tensor(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")


def add_external_attribute(model: Any) -> None:
    """A tensor in an attribute of a node in a function, which is not among the graph's own."""
    hidden = onnx.TensorProto(data_location=onnx.TensorProto.EXTERNAL, dims=[1], data_type=1)
    hidden.external_data.add(key="location", value="/etc/passwd")
    node = onnx.helper.make_node("Constant", [], ["y"], value=hidden)
    opset = [onnx.helper.make_opsetid("", 20)]
    model.functions.append(onnx.helper.make_function("own", "f", [], ["y"], [node], opset))


def remove_description(model: Any) -> None:
    del model.metadata_props[:]


def damage_description(model: Any) -> None:
    model.metadata_props[0].value = "{"


def claim_fewer_classes(model: Any) -> None:
    model.metadata_props[0].value = model.metadata_props[0].value.replace('"names": ["circle", ', '"names": [')


def claim_more_detections(model: Any) -> None:
    model.metadata_props[0].value = model.metadata_props[0].value.replace(
        '"max_detections": 100', '"max_detections": 200'
    )


def claim_resizing(model: Any) -> None:
    model.metadata_props[0].value = model.metadata_props[0].value.replace('"resize": false', '"resize": true')


def use_unknown_operator(model: Any) -> None:
    model.graph.node[0].domain, model.graph.node[0].op_type = "evil", "Evil"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (add_external_tensor, "tensors in other files, which are not read"),
        (add_external_attribute, "tensors in other files, which are not read"),
        (remove_description, "this project did not export"),
        (damage_description, "its description is damaged"),
        (claim_fewer_classes, "a label that is none of its classes"),
        (claim_more_detections, "does not return boxes, scores and labels"),
        (claim_resizing, "inputs and outputs are not those"),
        (use_unknown_operator, "ONNX Runtime cannot load it"),
    ],
)
def test_a_hostile_file_is_one_clear_error(
    exported: Path, shapes: Path, tmp_path: Path, change: Callable[[Any], None], words: str
) -> None:
    model = onnx.load(exported)
    before = model.SerializeToString()
    change(model)
    assert model.SerializeToString() != before
    path = tmp_path / "hostile.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match=words) as caught:
        paa.load(path).predict(sorted((shapes / "images").iterdir()))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x08\x08", b"no model", bytes(range(256)) * 20])
def test_a_file_that_is_no_model(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.onnx: ") as caught:
        paa.load(path)
    assert "\n" not in str(caught.value)


def test_no_file_a_folder_and_a_format(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        paa.load(tmp_path / "missing.onnx")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(CheckpointError, match="a folder"):
        paa.load(tmp_path / "folder.onnx")
    with pytest.raises(ConfigError, match="format"):
        paa.load(exported, format="seed")


def test_the_file_says_where_it_comes_from(exported: Path) -> None:
    model = onnx.load(exported)
    onnx.checker.check_model(model)
    said = from_json({entry.key: entry.value for entry in model.metadata_props}["paa"])
    assert said.names == ("circle", "square", "triangle", "star")
    assert said.provenance["paa"] == model.producer_version == paa.__version__
    assert said.provenance["format"] == "paa checkpoint"
    shapes = [value.type.tensor_type.shape.dim for value in model.graph.input]
    sides = [[side.dim_param or side.dim_value for side in shape] for shape in shapes]
    assert sides == [["batch", 3, "32*rows", "32*columns"], ["batch", 2]]


def test_names_that_are_no_text(exported: Path, tmp_path: Path) -> None:
    """Found by fuzzing: ONNX Runtime loads such a graph, and Python cannot have its names."""
    path = tmp_path / "hostile.onnx"
    path.write_bytes(exported.read_bytes().replace(b"images", b"im\x80ges"))
    with pytest.raises(CheckpointError, match=f"^{path}: ") as caught:
        open_exported(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '{"names": 7}', "[" * 100_000, "x" * 10_000_000])
def test_descriptions_that_are_none(exported: Path, tmp_path: Path, text: str) -> None:
    model = onnx.load(exported)
    model.metadata_props[0].value = text
    path = tmp_path / "hostile.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match="its description is damaged") as caught:
        open_exported(path)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 500
