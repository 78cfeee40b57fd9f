"""ImageNet backbones of Caffe2: pickles of Python 2 and 3 start a plain and a deformable model."""

from __future__ import annotations

import io
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

import paa
from paa.config import CAFFE_MEAN, ModelConfig
from paa.errors import CheckpointError
from paa.model.backbone import ResNetBackbone
from paa.model.detector import Detector
from paa.recipes import RECIPES
from paa.weights.formats import caffe2, mmdet, official, seed
from paa.weights.formats import torchvision as torchvision_models
from paa.weights.read import read_start
from paa.weights.start import load_start, starting_model
from paa.weights.state import BackboneWeights, Checkpoint, check_fit
from tests.parity import filled
from tests.weights.golden_states import GOLDEN, golden_state, read_json
from tests.weights.name_lists import R50, X101_32X8D, X101_64X4D, X152_32X8D, Form, caffe2_places, caffe2_shapes, marked

PLACES = caffe2_places(R50.depths)
Blobs = dict[str, Any]


class Python2Pickler(pickle._Pickler):  # type: ignore[name-defined]
    """Writes protocol 2 as Python 2 did: strings and the bytes of arrays are both strings of bytes."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def _save_string(self, value: str | bytes) -> None:
        data = value.encode("latin-1") if isinstance(value, str) else value
        short = len(data) < 256
        self.write((b"U" + bytes([len(data)]) if short else b"T" + struct.pack("<i", len(data))) + data)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = _save_string


def python2(value: Any) -> bytes:
    written = io.BytesIO()
    Python2Pickler(written, 2).dump(value)
    # numpy's older names, which are all that Python 2 had
    return written.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def arrays() -> Blobs:
    """Return the blobs of R-50.pkl, whose values come from their names."""
    state = filled(GOLDEN, {blob: list(shape) for blob, (_, shape) in PLACES.items()})
    return {blob: tensor.numpy() for blob, tensor in state.items()}


def read_blobs(blobs: dict[str, Tensor]) -> BackboneWeights:
    return caffe2.read(Checkpoint("R-50.pkl", blobs))


@pytest.fixture(scope="module")
def blobs() -> Blobs:
    return arrays()


def test_the_rules_give_the_names_shapes_and_places_of_its_file() -> None:
    expected = {
        blob: (None if entry["to"] is None else entry["to"].removeprefix("stem."), tuple(entry["shape"]))
        for blob, entry in read_json("caffe2_r50_names.json").items()
    }
    assert expected == PLACES
    assert caffe2_shapes(R50.depths) == {blob: shape for blob, (_, shape) in expected.items()}


def test_the_pickles_are_as_python_2_wrote_them() -> None:
    values = {"conv1_w": np.arange(6, dtype=np.float32).reshape(2, 3), "long": np.zeros(99, np.float32)}
    data = python2({"blobs": values})
    assert data[:2] == b"\x80\x02"
    assert b"U\x07conv1_w" in data
    assert b"cnumpy.core.multiarray\n_reconstruct\n" in data
    assert not re.search(rb"[XC]\x07\0\0\0conv1_w", data)
    again = pickle.loads(data, encoding="latin1")["blobs"]
    assert all(np.array_equal(again[blob], value) for blob, value in values.items())
    with pytest.raises(UnicodeDecodeError):
        pickle.loads(python2({"x": np.full(3, 1.7, np.float32)}), encoding="ascii")


WRITERS: dict[str, Callable[[Any], bytes]] = {
    "python 2": python2,
    "python 3, protocol 2": lambda value: pickle.dumps(value, 2),
    "python 3, protocol 4": lambda value: pickle.dumps(value, 4),
    "python 3, protocol 5": lambda value: pickle.dumps(value, 5),
}


@pytest.mark.parametrize(
    ("writer", "inside"),
    [
        ("python 2", False),
        ("python 2", True),
        ("python 3, protocol 2", False),
        ("python 3, protocol 4", True),
        ("python 3, protocol 5", False),
    ],
)
def test_every_blob_becomes_its_tensor(tmp_path: Path, blobs: Blobs, writer: str, inside: bool) -> None:
    path = tmp_path / "R-50.pkl"
    path.write_bytes(WRITERS[writer]({"blobs": blobs, "cfg": "MODEL:\n  TYPE: x"} if inside else blobs))
    weights = read_start(str(path), "resnet50")
    path.unlink()
    assert isinstance(weights, BackboneWeights)
    assert weights.fields == {
        "backbone": "resnet50",
        "norm_eps": 0.0,
        "stride_in_1x1": True,
        "mean": CAFFE_MEAN,
        "std": (1.0, 1.0, 1.0),
        "bgr": True,
    }
    assert weights.source == str(path)
    assert sorted(weights.dropped) == ["fc1000_b", "fc1000_w"]
    tensors = dict(weights.tensors)
    for blob, (ours, _) in PLACES.items():
        if ours is not None:
            assert torch.equal(tensors.pop(ours), torch.from_numpy(blobs[blob])), blob
    norms = sum(blob.endswith("_bn_s") for blob in PLACES)
    assert len(tensors) == 2 * norms == 106
    for name, tensor in tensors.items():
        kind = name.rsplit(".", 1)[1]
        assert torch.equal(tensor, torch.full_like(tensor, {"running_mean": 0.0, "running_var": 1.0}[kind])), name


@pytest.mark.parametrize(
    ("form", "classes", "name"),
    [
        (X101_64X4D, 1000, "resnext101_64x4d"),
        (X101_32X8D, 1000, "resnext101_32x8d"),
        (X152_32X8D, 5000, "resnext152_32x8d"),
    ],
    ids=["X-101-64x4d", "X-101-32x8d", "X-152-32x8d-IN5k"],
)
def test_resnexts_are_known_from_their_blobs(form: Form, classes: int, name: str) -> None:
    places = caffe2_places(form.depths, form.groups, form.width, "pred", classes)
    others: dict[str, Any] = {f"{blob}_momentum": torch.zeros(1) for blob in places if not blob.startswith("pred")}
    others |= {"weight_order": "1", "lr": torch.tensor(0.1), "pred_w_momentum": torch.zeros(1)}
    given = marked({blob: shape for blob, (_, shape) in places.items()})
    file = Checkpoint("X.pkl", {"blobs": {**given, **others}})
    assert caffe2.recognises(file)
    assert not any(other.recognises(file) for other in (seed, official, mmdet, torchvision_models))
    weights = caffe2.read(file)
    assert (weights.fields["backbone"], weights.fields["stride_in_1x1"]) == (name, False)
    assert (weights.fields["bgr"], weights.fields["norm_eps"]) == (True, 0.0)
    assert set(weights.dropped) == {*others, "pred_w", "pred_b"}
    for blob, (ours, _) in places.items():
        assert ours is None or weights.tensors[ours] is given[blob], blob
    with torch.device("meta"):
        own = ResNetBackbone(name, norm_eps=0.0).state_dict()
    check_fit(own, weights.tensors, "X.pkl")
    assert set(own) == set(weights.tensors)


@pytest.mark.parametrize("recipe", ["r50_1x", "modern"])
def test_a_plain_model_starts_from_it_and_normalises_images_as_it_did(blobs: Blobs, recipe: str) -> None:
    weights = read_blobs({blob: torch.from_numpy(array) for blob, array in blobs.items()})
    config, changed = starting_model(weights, RECIPES[recipe].model)
    assert (config.stride_in_1x1, config.bgr, config.mean, config.norm_eps) == (True, True, CAFFE_MEAN, 0.0)
    assert config.norm == RECIPES[recipe].model.norm
    assert (changed == {}) == (recipe == "r50_1x")
    torch.manual_seed(0)
    detector = Detector(config, ("cat",))
    torch.manual_seed(0)
    fresh = Detector(config, ("cat",)).state_dict()
    lines = load_start(detector, weights)
    assert lines[0] == "the backbone starts from R-50.pkl; the pyramid and the head start fresh"
    assert lines[1:] == ["left out, as detectors do not have them: fc1000_w, fc1000_b"]
    for stage in (2, 3, 4):
        first = detector.backbone.get_submodule(f"layer{stage}.0")
        assert (first.conv1.stride, first.conv2.stride) == ((2, 2), (1, 1))
    for name, tensor in detector.state_dict().items():
        inside = name.removeprefix("backbone.")
        expected = weights.tensors[inside] if inside in weights.tensors else fresh[name]
        assert torch.equal(tensor, expected), name
    pixel = torch.tensor([10, 20, 30], dtype=torch.uint8).view(1, 3, 1, 1)
    seen = detector.normalise(pixel, torch.tensor([[1, 1]])).flatten()
    assert torch.equal(seen, torch.tensor([30 - 102.9801, 20 - 115.9465, 10 - 122.7717]))


@pytest.mark.parametrize("dcn_stages", [(3, 4, 5), (4, 5)])
def test_a_deformable_model_starts_with_its_plain_weights_and_fresh_offsets(
    blobs: Blobs, dcn_stages: tuple[int, ...]
) -> None:
    weights = read_blobs({blob: torch.from_numpy(array) for blob, array in blobs.items()})
    asked = ModelConfig(dcn_stages=dcn_stages, tower_dcn=True, channels=16, tower_depth=1)
    config, _ = starting_model(weights, asked)
    assert (config.dcn_stages, config.tower_dcn, config.stride_in_1x1) == (dcn_stages, True, True)
    detector = Detector(config, ("cat",))
    lines = load_start(detector, weights)
    count = sum(R50.depths[stage - 2] for stage in dcn_stages)
    assert f"the offsets of {count} deformable convolutions start fresh (at zero)" in lines
    own = detector.backbone.state_dict()
    offsets = [name for name in own if ".conv2.offset." in name]
    assert len(offsets) == 2 * count
    assert all(own[name].abs().sum() == 0 for name in offsets)
    for name, tensor in weights.tensors.items():
        ours = name if name in own else name.replace("conv2.weight", "conv2.conv.weight")
        assert torch.equal(own[ours], tensor), name
    assert len(own) == len(weights.tensors) + len(offsets)


def test_folded_norms_compute_the_same_as_whole_ones() -> None:
    """A file whose scales and shifts are those of the golden R-50's norms gives the golden backbone's features."""
    state = golden_state("res50_1x")
    golden = Detector(RECIPES["r50_1x"].model, ("cat",)).backbone.eval()
    tensors = {
        name.removeprefix("backbone.body.").removeprefix("stem."): tensor
        for name, tensor in state.items()
        if name.startswith("backbone.body.")
    }
    golden.load_state_dict(tensors)
    folded: dict[str, Tensor] = {}
    for blob, (ours, shape) in PLACES.items():
        if ours is None:
            folded[blob] = torch.zeros(shape)
        elif blob.endswith("_bn_s"):
            folded[blob] = tensors[ours] / tensors[ours.replace("weight", "running_var")].sqrt()
        elif blob.endswith("_bn_b"):
            scale, mean = folded[f"{blob[:-1]}s"], tensors[ours.replace("bias", "running_mean")]
            folded[blob] = tensors[ours] - mean * scale
        else:
            folded[blob] = tensors[ours]
    weights = read_blobs(folded)
    config, _ = starting_model(weights, ModelConfig(channels=16, tower_depth=1))
    detector = Detector(config, ("cat",)).eval()
    load_start(detector, weights)
    images = torch.randint(0, 256, (1, 3, 64, 96), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.inference_mode():
        x = detector.normalise(images, torch.tensor([[64, 90]]))
        for ours, theirs in zip(detector.backbone(x), golden(x), strict=True):
            assert theirs.abs().max() > 0.1
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4 * theirs.abs().max().item())


@pytest.mark.parametrize(
    ("gone", "added", "says"),
    [
        ("res4_3_branch2b_w", {}, r"1 missing \(layer3.3.conv2.weight\)"),
        ("res4_3_branch2b_bn_b", {}, r"1 missing \(layer3.3.bn2.bias\)"),
        ("res4_3_branch2b_bn_s", {}, r"3 missing \(layer3.3.bn2.running_mean, layer3.3.bn2.running_var, .*weight\)"),
        ("res2_0_branch1_w", {}, r"1 missing \(layer1.0.downsample.0.weight\)"),
        ("", {"res5_2_branch2c_b": torch.zeros(3)}, r"1 left over \(res5_2_branch2c_b\)"),
        ("", {"res4_3_branch2b_bn_b": torch.zeros(3)}, r"1 misshapen \(layer3.3.bn2.bias\)"),
        ("", {"res4_3_branch2b_bn_b": torch.full((256,), float("nan"))}, "layer3.3.bn2.bias is not finite"),
    ],
)
def test_what_does_not_fit_is_named(blobs: Blobs, gone: str, added: dict[str, Tensor], says: str) -> None:
    given = {blob: torch.from_numpy(array) for blob, array in blobs.items() if blob != gone}
    weights = read_blobs({**given, **added})
    config, _ = starting_model(weights, ModelConfig(channels=16, tower_depth=1))
    with pytest.raises(CheckpointError, match=rf"^R-50\.pkl: .*{says}") as caught:
        load_start(Detector(config, ("cat",)), weights)
    assert "\n" not in str(caught.value)


def test_a_backbone_is_no_detector(tmp_path: Path, blobs: Blobs) -> None:
    small = {blob: array for blob, array in blobs.items() if not blob.startswith("fc")}
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(small))
    with pytest.raises(CheckpointError) as caught:
        paa.load(tmp_path / "R-50.pkl")
    assert str(caught.value) == (
        f"{tmp_path / 'R-50.pkl'}: a backbone alone (resnet50); paa train --init starts a detector from it"
    )


def test_an_unknown_resnet(tmp_path: Path, blobs: Blobs) -> None:
    small = {blob: array for blob, array in blobs.items() if not blob.startswith(("res5_2", "fc"))}
    (tmp_path / "R-47.pkl").write_bytes(pickle.dumps(small))
    with pytest.raises(CheckpointError, match=r"R-47\.pkl: holds a ResNet of 3-4-6-2 blocks, none of resnet18, "):
        read_start(str(tmp_path / "R-47.pkl"), "resnet50")
