"""Checkpoints of the seed: a file becomes the model that it was made from; errors name tensors that do not fit."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import paa
from paa.config import CAFFE_MEAN
from paa.errors import CheckpointError, ConfigError
from paa.model.detector import Detector
from paa.recipes import RECIPES
from paa.weights.formats import caffe2, mmdet, official, seed
from paa.weights.formats import torchvision as torchvision_models
from paa.weights.formats.coco_names import COCO_NAMES
from paa.weights.read import build, read_weights
from paa.weights.state import Checkpoint, Weights, check_fit, load_tensors
from tests.weights.golden_states import assert_golden, golden_state, named_shapes
from tests.weights.name_lists import R50, R101, Form, marked, misplaced, seed_places, seed_shapes

KEYS: dict[str, tuple[Form, tuple[int, ...], bool]] = {
    "res50_1x": (R50, (), False),
    "res101_dcn_2x": (R101, (3, 4, 5), True),
}


def read_state(state: dict[str, Tensor]) -> Weights:
    return seed.read(Checkpoint("file", state))


@pytest.mark.parametrize("key", KEYS)
def test_the_rules_give_the_names_and_shapes_of_the_seeds_files(key: str) -> None:
    form, dcn_stages, tower_dcn = KEYS[key]
    assert seed_shapes(*form, dcn_stages=dcn_stages, tower_dcn=tower_dcn) == named_shapes(key)


@pytest.mark.parametrize("key", KEYS)
def test_a_file_becomes_the_golden_model(tmp_path: Path, key: str) -> None:
    state, places = golden_state(key), seed_places(*KEYS[key])
    path = tmp_path / "model.pth"
    torch.save(state, path)
    model = paa.load(path).cpu()
    path.unlink()
    assert not model.training
    assert model.config == RECIPES[key.replace("res", "r")].model
    assert model.config.mean == CAFFE_MEAN
    assert model.names == COCO_NAMES
    assert model.provenance == {"file": "model.pth", "format": "seed (PAA_minimal)"}
    own = model.state_dict()
    assert misplaced(state, places, own) == []
    assert {place.ours for place in places.values()} == set(own)
    assert all(tensor.dtype == torch.float32 for tensor in own.values())
    assert_golden(model, key)


def test_no_other_format_recognises_a_file_of_the_seed() -> None:
    file = Checkpoint("file", marked(seed_shapes(*R50)))
    assert seed.recognises(file)
    others = (official, mmdet, caffe2, torchvision_models)
    assert not any(other.recognises(file) for other in others)


@pytest.mark.parametrize("key", KEYS)
def test_every_tensor_is_needed_and_of_one_shape(key: str) -> None:
    """Without a tensor, or with another shape, no model is made, and the error names it. (For some of every kind.)"""
    form, dcn_stages, tower_dcn = KEYS[key]
    state, places = marked(seed_shapes(*form, dcn_stages=dcn_stages, tower_dcn=tower_dcn)), seed_places(*KEYS[key])
    with torch.device("meta"):
        own = Detector(RECIPES[key.replace("res", "r")].model, COCO_NAMES).state_dict()
    check_fit(own, read_state(state).tensors, "whole")
    for name in list(state)[:: 4 if key == "res50_1x" else 16]:
        for changed in (None, state[name].new_zeros((*state[name].shape, 2))):
            part = {other: tensor for other, tensor in state.items() if other != name}
            if changed is not None:
                part[name] = changed
            try:
                tensors = read_state(part).tensors
            except (ConfigError, KeyError, RuntimeError):  # tensors that decide the model, and the scales
                assert re.search(r"layer\d\.\d+\.conv[123]\.|cls_logits|scales", name), name
                continue
            with pytest.raises(CheckpointError, match=re.escape(places[name].ours)):
                check_fit(own, tensors, "file")


def test_class_names_of_files_that_have_none() -> None:
    assert len(COCO_NAMES) == len(set(COCO_NAMES)) == 80
    assert (COCO_NAMES[0], COCO_NAMES[9], COCO_NAMES[-1]) == ("person", "traffic light", "toothbrush")
    assert (COCO_NAMES[25], COCO_NAMES[26], COCO_NAMES[78]) == ("umbrella", "handbag", "hair drier")
    assert all(name == name.strip() and "\n" not in name for name in COCO_NAMES)
    weights = read_state(marked(seed_shapes(*R50, classes=3)))
    assert (weights.names, weights.num_classes) == (None, 3)
    assert build(weights, "file", Detector).names == ("class 0", "class 1", "class 2")


@pytest.mark.parametrize(
    ("removed", "added", "words"),
    [
        (
            "head.bbox_pred.bias|backbone.body.layer1.1.conv3.weight",
            {},
            ["2 missing", "head.deltas.bias", "backbone.layer1.1.conv3.weight"],
        ),
        ("layer4.*bn", {}, ["36 missing", "backbone.layer4", "..."]),
        ("^$", {"head.mystery": torch.zeros(2)}, ["1 left over (head.mystery)"]),
        ("^$", {"head.bbox_pred.bias": torch.zeros(5)}, ["1 misshapen (head.deltas.bias)"]),
        ("^$", {"head.cls_logits.bias": torch.zeros(81)}, ["1 misshapen (head.cls_logits.bias)"]),
        (
            "head.iou_pred.bias",
            {"x": torch.zeros(1), "head.bbox_pred.bias": torch.zeros(())},
            ["1 missing (head.iou_logits.bias)", "1 left over (x)", "1 misshapen (head.deltas.bias)"],
        ),
        ("^$", {"head.bbox_pred.bias": torch.tensor([0, 1, float("nan"), 2])}, ["head.deltas.bias is not finite"]),
    ],
    ids=["missing", "many missing", "left over", "misshapen", "rows of classes", "all at once", "not finite"],
)
def test_what_does_not_fit_is_named(removed: str, added: dict[str, Tensor], words: list[str]) -> None:
    state = {name: tensor for name, tensor in marked(seed_shapes(*R50)).items() if not re.search(removed, name)}
    with pytest.raises(CheckpointError) as caught:
        build(read_state({**state, **added}), "some.pth", Detector)
    message = str(caught.value)
    assert message.startswith("some.pth: ")
    assert "\n" not in message
    assert len(message) < 400
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        ("head.scales.3.scale", "incomplete checkpoint (KeyError: 'head.scales.3.scale')"),
        ("backbone.body.layer3.4.conv1.weight", "holds a ResNet of 3-4-5-3 blocks, none of resnet18"),
        ("backbone.body.layer1.0.conv2.weight", "holds no ResNet"),
    ],
)
def test_an_incomplete_file(tmp_path: Path, gone: str, says: str) -> None:
    state = {name: torch.zeros(1) for name in seed_shapes(*R50)}
    state["backbone.body.layer1.0.conv1.weight"] = torch.zeros(64, 64, 1, 1)
    state["backbone.body.layer1.0.conv2.weight"] = torch.zeros(64, 64, 3, 3)
    torch.save({name: tensor for name, tensor in state.items() if name != gone}, tmp_path / "part.pth")
    with pytest.raises(CheckpointError) as caught:
        read_weights(tmp_path / "part.pth")
    assert str(caught.value).startswith(f"{tmp_path / 'part.pth'}: {says}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["head.bbox_pred.bias", "head.scales.0.scale", "head.cls_logits.weight"])
def test_a_value_that_is_no_tensor(tmp_path: Path, name: str) -> None:
    whole = seed_shapes(*R50)
    state: dict[str, object] = {other: torch.zeros(1) for other in whole}
    for layer in ("backbone.body.layer1.0.conv1.weight", "backbone.body.layer1.0.conv2.weight"):
        state[layer] = torch.zeros(whole[layer])
    torch.save({**state, name: 4}, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError) as caught:
        build(read_weights(tmp_path / "odd.pth"), str(tmp_path / "odd.pth"), Detector)
    assert str(caught.value).startswith(f"{tmp_path / 'odd.pth'}: ")
    assert "\n" not in str(caught.value)


def test_a_failed_load_changes_nothing() -> None:
    layer = torch.nn.Linear(2, 2)
    before = layer.weight.detach().clone()
    for tensors, says in (
        ({"weight": torch.zeros(2, 2)}, "1 missing"),
        ({"weight": torch.zeros(2, 2), "bias": torch.zeros(3)}, "1 misshapen"),
        ({"weight": torch.zeros(2, 2), "bias": torch.zeros(2), "scale": torch.ones(1)}, "1 left over"),
        ({"weight": torch.zeros(2, 2), "bias": [0.0, 0.0]}, "bias is not a tensor"),
        ({"weight": torch.zeros(2, 2), "bias": torch.tensor([0.0, float("inf")])}, "bias is not finite"),
    ):
        with pytest.raises(CheckpointError, match=f"^file: .*{says}"):
            load_tensors(layer, tensors, "file")
        assert torch.equal(layer.weight, before), says
    load_tensors(layer, {"weight": torch.zeros(2, 2, dtype=torch.float16), "bias": torch.ones(2)}, "file")
    assert layer.weight.dtype == torch.float32
    assert layer.weight.abs().sum() == 0


@pytest.mark.parametrize(
    "wrap", [lambda s: {"model": s, "iteration": 5}, lambda s: {f"module.{n}": t for n, t in s.items()}]
)
def test_wrappers_of_training_programs_are_removed(wrap: Callable[[Any], Any]) -> None:
    """The seed itself wrote the key `model` at first, and DistributedDataParallel prefixes all names by `module.`."""
    state = {"backbone.body.stem.conv1.weight": torch.ones(1), "head.cls_logits.weight": torch.ones(1)}
    file = Checkpoint("file", wrap(state))
    assert seed.recognises(file)
    assert dict(file.state) == state
