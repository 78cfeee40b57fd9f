"""Checkpoints of MMDetection, 2.x and 3.x."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

import paa
from paa.config import IMAGENET_MEAN, IMAGENET_STD
from paa.errors import CheckpointError
from paa.model.detector import Detector
from paa.recipes import RECIPES
from paa.weights.formats import caffe2, mmdet, official, seed
from paa.weights.formats import torchvision as torchvision_models
from paa.weights.formats.coco_names import COCO_NAMES
from paa.weights.read import build
from paa.weights.state import Checkpoint, Weights, check_fit
from tests.weights.golden_states import assert_golden, golden_state, named_shapes
from tests.weights.name_lists import R50, R101, Form, Place, marked, misplaced, mmdet_places

NO_BIAS = {f"head.{tower}_tower.{i}.conv.bias" for tower in ("cls", "box") for i in range(4)}


def read_content(content: dict[str, Any]) -> Weights:
    return mmdet.read(Checkpoint("file", content))


def shapes(places: dict[str, Place | None]) -> dict[str, tuple[int, ...]]:
    return {name: () if place is None else place.shape for name, place in places.items()}


def test_the_rules_give_the_names_and_shapes_of_its_file() -> None:
    assert shapes(mmdet_places(R50)) == named_shapes("mmdet")


def test_a_file_becomes_the_golden_model(tmp_path: Path) -> None:
    state, path = golden_state("mmdet"), tmp_path / "paa_r50_fpn_1x_coco.pth"
    torch.save({"meta": {"epoch": 12}, "state_dict": state, "optimizer": {"state": {}}}, path)
    model = paa.load(path).cpu()
    path.unlink()
    config = model.config
    assert dataclasses.replace(RECIPES["mmdet_r50_1x"].model, norm="frozen") == config
    assert (config.norm_eps, config.stride_in_1x1, config.p7_relu, config.threshold_joint) == (1e-5, False, False, True)
    assert (config.mean, config.std, config.bgr) == (IMAGENET_MEAN, IMAGENET_STD, False)
    assert (config.anchor_offset, config.legacy) == (0.0, False)
    assert (config.min_size, config.max_size) == (800, 1333)
    assert model.names == COCO_NAMES
    assert model.provenance == {"file": path.name, "format": "MMDetection"}
    own, places = model.state_dict(), mmdet_places(R50)
    assert misplaced(state, places, own) == []
    assert set(own) - {place.ours for place in places.values() if place} == NO_BIAS
    assert all(own[name].abs().sum() == 0 for name in NO_BIAS)
    assert_golden(model, "mmdet")


@pytest.mark.parametrize(("form", "name"), [(R50, "resnet50"), (R101, "resnet101")], ids=["R-50", "R-101"])
@pytest.mark.parametrize("dcn_stages", [(), (3, 4, 5), (5,)])
def test_every_model_is_known_from_its_tensors(form: Form, name: str, dcn_stages: tuple[int, ...]) -> None:
    places = mmdet_places(form, dcn_stages)
    state = marked(shapes(places))
    file = Checkpoint("file", {"state_dict": state})
    assert mmdet.recognises(file)
    assert not any(other.recognises(file) for other in (seed, official, caffe2, torchvision_models))
    weights = mmdet.read(file)
    assert (weights.config.backbone, weights.config.dcn_stages, weights.config.tower_dcn) == (name, dcn_stages, False)
    assert (weights.names, weights.num_classes) == (None, 80)
    assert misplaced(state, places, weights.tensors) == []
    assert set(weights.tensors) == {place.ours for place in places.values() if place} | NO_BIAS
    with torch.device("meta"):
        check_fit(Detector(weights.config, COCO_NAMES).state_dict(), weights.tensors, name)


THINGS = tuple(f"thing {i}" for i in range(80))


@pytest.mark.parametrize(
    ("meta", "names"),
    [
        ({"CLASSES": THINGS}, THINGS),
        ({"dataset_meta": {"classes": list(THINGS), "palette": [(1, 2, 3)]}}, THINGS),
        ({"dataset_meta": {"CLASSES": THINGS}}, None),
        ({"dataset_meta": None}, None),
        ({"CLASSES": THINGS[:79]}, None),
        ({"CLASSES": [*THINGS[:79], 5]}, None),
        ({"CLASSES": "thing"}, None),
        ({"CLASSES": None}, None),
        ({}, None),
        (None, None),
        ("2.28", None),
    ],
)
def test_class_names_come_from_the_file_if_each_class_has_one(meta: Any, names: tuple[str, ...] | None) -> None:
    weights = read_content({"meta": meta, "state_dict": marked(shapes(mmdet_places(R50)))})
    assert weights.names == names
    assert weights.num_classes == 80


def test_a_file_with_names_makes_a_model_with_names(tmp_path: Path) -> None:
    state = golden_state("mmdet")
    for part in ("weight", "bias"):
        state[f"bbox_head.atss_cls.{part}"] = state[f"bbox_head.atss_cls.{part}"][:2].clone()
    torch.save({"meta": {"CLASSES": ("Hund", "鳥")}, "state_dict": state}, tmp_path / "a.pth")
    model = paa.load(tmp_path / "a.pth", "cpu")
    assert model.names == ("Hund", "鳥")
    assert torch.equal(model.head.cls_logits.bias, state["bbox_head.atss_cls.bias"])


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        ("bbox_head.scales.4.scale", "KeyError: 'bbox_head.scales.4.scale'"),
        ("bbox_head.atss_reg.bias", r"1 missing \(head.deltas.bias\)"),
        ("neck.fpn_convs.4.conv.weight", r"1 missing \(fpn.p7.weight\)"),
        (
            "bbox_head.reg_convs.2.conv.weight",
            r"2 missing \(head.box_tower.2.conv.bias, head.box_tower.2.conv.weight\)",
        ),
        ("backbone.layer4.0.downsample.1.running_var", r"1 missing \(backbone.layer4.0.downsample.1.running_var\)"),
    ],
)
def test_a_missing_tensor_is_named(gone: str, says: str) -> None:
    state = marked(shapes(mmdet_places(R50)))
    del state[gone]
    with pytest.raises((CheckpointError, KeyError), match=says.split(": ")[-1]):
        build(read_content({"state_dict": state}), "a.pth", Detector)


def test_counters_may_be_missing_and_other_tensors_may_not_be_added() -> None:
    state = marked(shapes(mmdet_places(R50)))
    counters = [name for name in state if name.endswith("num_batches_tracked")]
    assert len(counters) == 53
    without = {name: tensor for name, tensor in state.items() if name not in counters}
    assert read_content({"state_dict": without}).tensors.keys() == read_content({"state_dict": state}).tensors.keys()
    with pytest.raises(CheckpointError, match=r"1 left over \(backbone.fc.weight\)"):
        build(read_content({"state_dict": {**state, "backbone.fc.weight": torch.zeros(2)}}), "a.pth", Detector)


@pytest.mark.parametrize("key", ["config", "cfg"])
def test_a_caffe_style_model_says_so_in_its_configuration(key: str) -> None:
    state = marked(shapes(mmdet_places(R50)))
    text = "model = dict(backbone=dict(type='ResNet', norm_eval=True, style='{}'))"
    metas = {style: {key: text.format(style)} for style in ("pytorch", "caffe")}
    found = {style: read_content({"state_dict": state, "meta": meta}).config for style, meta in metas.items()}
    assert found["pytorch"] == read_content({"state_dict": state}).config
    caffe = {"stride_in_1x1": True, "std": (1.0, 1.0, 1.0), "bgr": True}
    assert found["caffe"] == dataclasses.replace(found["pytorch"], **caffe)


@pytest.mark.parametrize("key", ["config", "cfg"])
def test_the_input_and_the_anchors_are_those_of_the_configuration(key: str) -> None:
    text = """
model = dict(
    data_preprocessor=dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], bgr_to_rgb=True),
    bbox_head=dict(type='PAAHead', anchor_generator=dict(octave_base_scale=4)))
test_dataloader = dict(dataset=dict(pipeline=[dict(type='Resize', scale=(640, 512), keep_ratio=True)]))
"""
    state = marked(shapes(mmdet_places(R50)))
    usual = read_content({"state_dict": state}).config
    found = read_content({"state_dict": state, "meta": {key: text}}).config
    assert found == dataclasses.replace(
        usual, mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0), anchor_scale=4.0, min_size=512, max_size=640
    )


@pytest.mark.parametrize(("head", "other"), [("ATSSHead", True), ("PAAHead", False), ("LADHead", False)])
def test_a_model_of_atss_has_the_same_names_and_is_refused(tmp_path: Path, head: str, other: bool) -> None:
    text = f"model = dict(type='{head[:-4]}', bbox_head=dict(type='{head}', num_classes=80))"
    torch.save({"meta": {"config": text}, "state_dict": golden_state("mmdet")}, tmp_path / "a.pth")
    if not other:
        assert paa.load(tmp_path / "a.pth", "cpu").config.threshold_joint
        return
    with pytest.raises(CheckpointError, match=r"a\.pth: is an ATSS model by its configuration"):
        paa.load(tmp_path / "a.pth", "cpu")
