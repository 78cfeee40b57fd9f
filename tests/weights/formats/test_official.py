"""Checkpoints of the authors' code: the configuration of each model follows from its file alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import paa
from paa.errors import CheckpointError
from paa.model.detector import Detector
from paa.recipes import RECIPES
from paa.weights.formats import mmdet, official, seed
from paa.weights.formats.coco_names import COCO_NAMES
from paa.weights.read import build
from paa.weights.state import Checkpoint, Weights, check_fit
from tests.weights.golden_states import assert_golden, golden_state
from tests.weights.name_lists import (
    R50,
    R101,
    X101_32X8D,
    X101_64X4D,
    X152_32X8D,
    Form,
    marked,
    misplaced,
    official_content,
    seed_places,
    seed_shapes,
)

MODELS: dict[str, tuple[Form, tuple[int, ...], bool]] = {
    "r50_1x": (R50, (), False),
    "r101_2x": (R101, (), False),
    "r101_dcn_2x": (R101, (3, 4, 5), True),
    "x101_64x4d_2x": (X101_64X4D, (), False),
    "x101_64x4d_dcn_2x": (X101_64X4D, (4, 5), True),
    "x101_32x8d_dcn_2x": (X101_32X8D, (4, 5), True),
    "x152_32x8d_dcn_2x": (X152_32X8D, (3, 4, 5), True),
}
NAMES = {
    "r50_1x": "resnet50",
    "r101_2x": "resnet101",
    "r101_dcn_2x": "resnet101",
    "x101_64x4d_2x": "resnext101_64x4d",
    "x101_64x4d_dcn_2x": "resnext101_64x4d",
    "x101_32x8d_dcn_2x": "resnext101_32x8d",
    "x152_32x8d_dcn_2x": "resnext152_32x8d",
}


def read_content(content: dict[str, Any]) -> Weights:
    return official.read(Checkpoint("file", content))


@pytest.fixture
def no_random_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not initialise large convolutions: random numbers take longer than all the rest."""
    for name in ("kaiming_normal_", "kaiming_uniform_", "normal_"):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)


@pytest.mark.parametrize(
    ("key", "module", "iteration"), [("res50_1x", True, 90_000), ("res101_dcn_2x", False, None)], ids=["R-50", "R-101"]
)
def test_a_file_becomes_the_golden_model(tmp_path: Path, key: str, module: bool, iteration: int | None) -> None:
    state, model_key = golden_state(key), key.replace("res", "r")
    places = seed_places(*MODELS[model_key])
    path = tmp_path / "PAA.pth"
    torch.save(official_content(state, module, iteration), path)
    model = paa.load(path).cpu()
    path.unlink()
    assert model.config == RECIPES[model_key].model
    assert model.names == COCO_NAMES
    expected = {"file": "PAA.pth", "format": "official (kkhoot/PAA)"}
    assert model.provenance == expected | ({} if iteration is None else {"iteration": "90000"})
    assert misplaced(state, places, model.state_dict()) == []
    assert_golden(model, key)


@pytest.mark.parametrize(("key", "module"), [*((key, True) for key in MODELS), ("r101_dcn_2x", False)])
def test_every_model_is_known_from_its_tensors(key: str, module: bool) -> None:
    form, dcn_stages, tower_dcn = MODELS[key]
    state = marked(seed_shapes(*form, dcn_stages=dcn_stages, tower_dcn=tower_dcn))
    file = Checkpoint("file", official_content(state, module))
    assert official.recognises(file)
    assert not seed.recognises(file)
    assert not mmdet.recognises(file)
    config, names, num_classes, tensors, provenance, _ = official.read(file)
    assert (config.backbone, config.dcn_stages, config.tower_dcn) == (NAMES[key], dcn_stages, tower_dcn)
    assert config.stride_in_1x1 == (form.groups == 1)
    assert (config.min_size, config.max_size) == ((864, 1440) if form == X152_32X8D else (800, 1333))
    assert config == RECIPES[key].model
    assert (names, num_classes) == (None, 80)
    assert provenance == {"format": "official (kkhoot/PAA)", "iteration": "90000"}
    places = seed_places(form, dcn_stages, tower_dcn)
    assert misplaced(state, places, tensors) == []
    assert {place.ours for place in places.values()} == set(tensors)
    with torch.device("meta"):
        check_fit(Detector(config, COCO_NAMES).state_dict(), tensors, key)


@pytest.mark.parametrize("key", ["x101_64x4d_dcn_2x", "x152_32x8d_dcn_2x"])
@pytest.mark.usefixtures("no_random_weights")
def test_the_large_models_are_built_and_run(key: str) -> None:
    form, dcn_stages, tower_dcn = MODELS[key]
    state = marked(seed_shapes(*form, dcn_stages=dcn_stages, tower_dcn=tower_dcn))
    model = build(read_content(official_content(state)), key, Detector)
    assert misplaced(state, seed_places(form, dcn_stages, tower_dcn), model.state_dict()) == []
    for stage in (2, 3, 4):
        first = model.backbone.get_submodule(f"layer{stage}.0")
        assert first.conv1.stride == (1, 1)
        halving = (first.conv2.offset, first.conv2.conv) if stage + 1 in dcn_stages else (first.conv2,)
        assert [conv.stride for conv in halving] == [(2, 2)] * len(halving)
        assert halving[-1].groups == form.groups
    with torch.inference_mode():
        outputs = model(torch.full((1, 3, 32, 64), 99, dtype=torch.uint8), torch.tensor([[30, 60]]))
    assert outputs.level_sizes == ((4, 8), (2, 4), (1, 2), (1, 1), (1, 1))
    assert outputs.cls_logits.shape == (1, 32 + 8 + 2 + 1 + 1, 80)
    assert bool(outputs.cls_logits.isfinite().all())


def test_anchors_in_the_file_are_the_only_tensors_that_are_dropped() -> None:
    content = official_content(marked(seed_shapes(*R50)))
    plain = read_content(content).tensors
    for name in [name for name in content["model"] if "anchor_generator" in name]:
        del content["model"][name]
    assert {**read_content(content).tensors}.keys() == plain.keys()
    content["model"]["module.rpn.mystery"] = torch.zeros(3)
    with pytest.raises(CheckpointError, match=r"^a\.pth: tensors do not fit the model: 1 left over \(rpn\.mystery\)$"):
        build(read_content(content), "a.pth", Detector)


def test_an_error_names_a_missing_tensor_by_this_projects_name(tmp_path: Path) -> None:
    content = official_content(marked(seed_shapes(*R50)))
    del content["model"]["module.rpn.head.iou_pred.weight"]
    with pytest.raises(CheckpointError, match=r"1 missing \(head\.iou_logits\.weight\)$"):
        build(read_content(content), "a.pth", Detector)
    torch.save({"model": {"rpn.head.cls_logits.weight": torch.zeros(80, 256, 3, 3)}}, tmp_path / "part.pth")
    with pytest.raises(
        CheckpointError, match=r"part\.pth: incomplete checkpoint \(KeyError: 'head\.scales\.0\.scale'\)$"
    ):
        paa.load(tmp_path / "part.pth")


@pytest.mark.parametrize("classes", [1, 20])
def test_any_number_of_classes(classes: int, no_random_weights: Callable[[], None]) -> None:
    weights = read_content(official_content(marked(seed_shapes(*R50, classes=classes))))
    assert weights.num_classes == classes
    assert build(weights, "a.pth", Detector).names == tuple(f"class {label}" for label in range(classes))
