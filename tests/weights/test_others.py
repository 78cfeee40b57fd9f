"""The seed's and MMDetection's checkpoints: every tensor finds its place, and what does not fit is named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_states import golden_state, read_json
from torch import Tensor

from paa.config import CAFFE_MEAN, IMAGENET_MEAN, IMAGENET_STD
from paa.errors import CheckpointError
from paa.model.detector import Detector
from paa.recipes import RECIPES
from paa.weights import mmdet, seed
from paa.weights.coco_names import COCO_NAMES
from paa.weights.read import build, read_weights
from paa.weights.state import Weights, load_tensors

SEEDS = sorted(read_json("seed_state_dicts.json"))


def read(key: str) -> Weights:
    return mmdet.read(golden_state(key)) if key == "mmdet" else seed.read(golden_state(key))


def rename(key: str, name: str) -> str:
    return mmdet.rename(name) if key == "mmdet" else seed.rename(name)


def test_which_checkpoints_there_are() -> None:
    assert {"res50_1x", "res101_dcn_2x"} <= set(SEEDS)


@pytest.mark.parametrize("key", [*SEEDS, "mmdet"])
def test_every_tensor_is_used(key: str) -> None:
    state = golden_state(key)
    assert mmdet.recognises(state) == (key == "mmdet")
    assert seed.recognises(state) == (key != "mmdet")
    detector = build(read(key), key, Detector)
    assert not detector.training
    own = detector.state_dict()
    prefix = "bbox_head.scales." if key == "mmdet" else "head.scales."
    used = set()
    for name, tensor in state.items():
        if name.startswith(prefix):
            level = int(name.removeprefix(prefix).split(".")[0])
            assert own["head.scales"][level] == tensor.reshape(())
            used.add("head.scales")
        elif not name.endswith("num_batches_tracked"):
            assert torch.equal(own[rename(key, name)], tensor), name
            used.add(rename(key, name))
    left = set(own) - used
    if key == "mmdet":  # whose towers have no biases
        assert left == {f"head.{tower}_tower.{i}.conv.bias" for tower in ("cls", "box") for i in range(4)}
        assert all((own[name] == 0).all() for name in left)
    else:
        assert left == set()


@pytest.mark.parametrize("key", SEEDS)
def test_the_seeds_models_are_the_recipes(key: str) -> None:
    weights = read(key)
    assert weights.config == RECIPES[key.replace("res", "r")].model
    assert weights.names is None
    assert weights.num_classes == 80
    assert weights.config.mean == CAFFE_MEAN


def test_mmdetections_model() -> None:
    config = read("mmdet").config
    assert (config.backbone, config.norm, config.norm_eps, config.stride_in_1x1) == ("resnet50", "frozen", 1e-5, False)
    assert (config.mean, config.std, config.bgr) == (IMAGENET_MEAN, IMAGENET_STD, False)
    assert (config.anchor_offset, config.legacy, config.p7_relu) == (0.0, False, False)
    assert config.threshold_joint


def test_class_names() -> None:
    assert len(COCO_NAMES) == len(set(COCO_NAMES)) == 80
    assert (COCO_NAMES[0], COCO_NAMES[9], COCO_NAMES[-1]) == ("person", "traffic light", "toothbrush")
    assert (COCO_NAMES[25], COCO_NAMES[26], COCO_NAMES[78]) == ("umbrella", "handbag", "hair drier")
    assert all(name == name.strip() and "\n" not in name for name in COCO_NAMES)
    assert build(read("res50_1x"), "file", Detector).names == COCO_NAMES
    state = golden_state("res50_1x")
    state["head.cls_logits.weight"], state["head.cls_logits.bias"] = torch.zeros(3, 256, 3, 3), torch.zeros(3)
    assert build(seed.read(state), "file", Detector).names == ("class 0", "class 1", "class 2")


@pytest.mark.parametrize(
    ("meta", "names"),
    [
        ({"CLASSES": tuple(f"thing {i}" for i in range(80))}, tuple(f"thing {i}" for i in range(80))),
        ({"dataset_meta": {"classes": [f"kind {i}" for i in range(80)]}}, tuple(f"kind {i}" for i in range(80))),
        ({"CLASSES": None}, COCO_NAMES),
        ({}, COCO_NAMES),
        (None, COCO_NAMES),
    ],
)
def test_names_in_mmdetections_meta(tmp_path: Path, meta: dict[str, Any] | None, names: tuple[str, ...]) -> None:
    torch.save({"meta": meta, "state_dict": golden_state("mmdet")}, tmp_path / "a.pth")
    assert build(read_weights(tmp_path / "a.pth"), "a.pth", Detector).names == names


def test_files_of_both_are_told_apart(tmp_path: Path) -> None:
    torch.save(golden_state("res50_1x"), tmp_path / "seed.pth")
    torch.save({"state_dict": golden_state("mmdet"), "meta": {}}, tmp_path / "mmdet.pth")
    assert read_weights(tmp_path / "seed.pth").source == "seed (PAA_minimal)"
    assert read_weights(tmp_path / "mmdet.pth").source == "MMDetection"


def without(state: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if name not in names}


@pytest.mark.parametrize(
    ("removed", "added", "words"),
    [
        (
            "head.bbox_pred.bias|backbone.body.layer1.0.conv1.weight",
            {},
            ["2 missing", "head.deltas.bias", "backbone.layer1.0.conv1.weight"],
        ),
        ("layer4", {}, ["missing", "backbone.layer4", "..."]),
        ("^$", {"head.mystery": torch.zeros(2)}, ["1 left over (head.mystery)"]),
        ("^$", {"head.bbox_pred.bias": torch.zeros(5)}, ["1 misshapen (head.deltas.bias)"]),
        (
            "head.iou_pred.bias",
            {"x": torch.zeros(1), "head.bbox_pred.bias": torch.zeros(())},
            ["1 missing (head.iou_logits.bias)", "1 left over (x)", "1 misshapen (head.deltas.bias)"],
        ),
    ],
    ids=["missing", "many missing", "left over", "misshapen", "all at once"],
)
def test_what_does_not_fit_is_named(removed: str, added: dict[str, Tensor], words: list[str]) -> None:
    state = {name: tensor for name, tensor in golden_state("res50_1x").items() if not re.search(removed, name)}
    with pytest.raises(CheckpointError) as caught:
        build(seed.read({**state, **added}), "some.pth", Detector)
    message = str(caught.value)
    assert message.startswith("some.pth: ")
    assert "\n" not in message
    assert len(message) < 400
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize("gone", ["head.scales.3.scale", "backbone.body.layer3.4.conv1.weight"])
def test_an_incomplete_file_of_the_seed(tmp_path: Path, gone: str) -> None:
    torch.save(without(golden_state("res50_1x"), gone), tmp_path / "part.pth")
    with pytest.raises(CheckpointError) as caught:
        build(read_weights(tmp_path / "part.pth"), "part.pth", Detector)
    assert "part.pth: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_value_that_is_no_tensor(tmp_path: Path) -> None:
    torch.save({**golden_state("res50_1x"), "head.bbox_pred.bias": "four"}, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError):
        build(read_weights(tmp_path / "odd.pth"), "odd.pth", Detector)


def test_a_failed_load_changes_nothing() -> None:
    layer = torch.nn.Linear(2, 2)
    before = layer.weight.detach().clone()
    with pytest.raises(CheckpointError, match="1 missing"):
        load_tensors(layer, {"weight": torch.zeros(2, 2)}, "file")
    assert torch.equal(layer.weight, before)
    load_tensors(layer, {"weight": torch.zeros(2, 2, dtype=torch.float16), "bias": torch.ones(2)}, "file")
    assert layer.weight.dtype == torch.float32
    assert layer.weight.abs().sum() == 0
