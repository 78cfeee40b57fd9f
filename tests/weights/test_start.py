"""Starting a run from weights: which model it has, which classes' rows are copied, which start fresh."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from paa.config import CAFFE_MEAN, ModelConfig
from paa.errors import CheckpointError, ConfigError
from paa.model.detector import Detector
from paa.weights.formats import own
from paa.weights.formats.coco_names import COCO_NAMES
from paa.weights.start import load_start, starting_model
from paa.weights.state import BackboneWeights, Checkpoint, Weights

SMALL = ModelConfig(backbone="resnet18", channels=16, tower_depth=1, min_size=64, max_size=96)
ROWS = ("head.cls_logits.weight", "head.cls_logits.bias")


@pytest.fixture(autouse=True, scope="module")
def _quick_backbones() -> Iterator[None]:
    """Random numbers for a backbone take longer than all the rest, and only the head's matter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.init, "kaiming_normal_", lambda tensor, *_, **__: tensor.data.fill_(0.01))
        yield


def fresh(names: Sequence[str], seed: int, config: ModelConfig = SMALL) -> Detector:
    torch.manual_seed(seed)
    return Detector(config, tuple(names))


@functools.cache
def fresh_state(names: Sequence[str], seed: int) -> dict[str, Tensor]:
    return fresh(names, seed).state_dict()


def weights_of(classes: Sequence[str], config: ModelConfig = SMALL, **changes: Any) -> Weights:
    """Return weights as if read from a file `old.pt`, all different from a fresh model's."""
    return _weights_of(tuple(classes), config)._replace(**changes)


@functools.cache
def _weights_of(classes: tuple[str, ...], config: ModelConfig) -> Weights:
    detector = fresh(classes, 1, config)
    generator = torch.Generator().manual_seed(2)
    for name, tensor in detector.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        else:
            tensor.fill_(len(name))
    weights = own.read(Checkpoint("old.pt", own.write(config, classes, detector.state_dict())))
    return weights._replace(provenance={"file": "first.pt", **weights.provenance}, source="old.pt")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("abc", "abc"),
        ("abc", "cab"),
        ("abcdef", "fb"),
        ("ab", "xbyaz"),
        ("abc", "xcy"),
        ("abc", "xyz"),
        ("abc", "xy"),
        ("abc", "A"),
    ],
    ids=["same", "permuted", "subset", "superset", "some shared", "none shared", "none shared, fewer", "other case"],
)
def test_classes_are_taken_by_name(theirs: str, ours: str) -> None:
    weights, detector, untouched = weights_of(theirs), fresh(ours, 3), fresh_state(ours, 3)
    lines = load_start(detector, weights)
    after = detector.state_dict()
    for name, tensor in weights.tensors.items():
        if name not in ROWS:
            assert torch.equal(after[name], tensor), name
    for name in ROWS:
        for row, label in enumerate(ours):
            expected = weights.tensors[name][theirs.index(label)] if label in theirs else untouched[name][row]
            assert torch.equal(after[name][row], expected), (name, label)
            assert not torch.equal(after[name][row], untouched[name][row]) or label not in theirs

    new, gone = [label for label in ours if label not in theirs], set(theirs) - set(ours)
    assert lines[0] == "the whole detector starts from old.pt"
    said = [line for line in lines[1:] if "start fresh" in line]
    assert len(said) == bool(new)
    if new:
        rows = "head.cls_logits.weight and head.cls_logits.bias"
        assert said == [f"except {len(new)} of {len(ours)} classes, whose rows of {rows} start fresh: {', '.join(new)}"]
    dropped = f"{len(gone)} of its classes are not in the data set, and are dropped"
    assert (dropped in lines) == bool(gone)
    assert len(lines) == 1 + bool(new) + bool(gone)


def test_fresh_rows_are_initialised_as_in_a_new_head() -> None:
    detector = fresh([f"new {i}" for i in range(40)], 4)
    load_start(detector, weights_of("abc"))
    weight, bias = (detector.state_dict()[name] for name in ROWS)
    assert weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert torch.allclose(bias.sigmoid(), torch.tensor(0.01))


def test_many_new_classes_are_not_all_listed() -> None:
    detector = fresh([f"new {i}" for i in range(40)], 4)
    lines = load_start(detector, weights_of("abc"))
    assert lines[1].endswith(", ".join(f"new {i}" for i in range(10)) + ", ...")
    assert "new 10" not in lines[1]


def test_weights_without_names() -> None:
    """As many classes as the data set has are taken in its order; 80 are COCO's; others are refused."""
    nameless = weights_of("abc", names=None)
    detector = fresh("xyz", 3)
    assert load_start(detector, nameless) == ["the whole detector starts from old.pt"]
    assert all(torch.equal(detector.state_dict()[name], nameless.tensors[name]) for name in ROWS)
    for ours in ("xy", "abcd"):
        with pytest.raises(CheckpointError) as caught:
            load_start(fresh(ours, 3), nameless)
        assert str(caught.value) == (
            f"old.pt: has 3 classes without names, the data set has {len(ours)}: "
            "name the file's classes with paa convert --names"
        )

    coco = weights_of(COCO_NAMES, names=None)
    ours = ("dog", "unicorn", "person")
    detector = fresh(ours, 3)
    untouched = fresh_state(ours, 3)
    lines = load_start(detector, coco)
    for name in ROWS:
        rows = detector.state_dict()[name]
        assert torch.equal(rows[0], coco.tensors[name][16])
        assert torch.equal(rows[1], untouched[name][1])
        assert torch.equal(rows[2], coco.tensors[name][0])
    assert lines[1].endswith("start fresh: unicorn")
    assert lines[2] == "78 of its classes are not in the data set, and are dropped"


@pytest.mark.parametrize("rows", [2, 4])
def test_names_that_are_not_as_many_as_the_rows(rows: int) -> None:
    """Also if the data set has as many classes as there are rows: which row is whose is unknown."""
    weights = weights_of("abcd"[:rows], names=("a", "b", "c"), num_classes=3)
    for ours in ("abcd"[:rows], "abc", "a"):
        with pytest.raises(CheckpointError, match=r"^old\.pt: .*head\.cls_logits\.") as caught:
            load_start(fresh(ours, 3), weights)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("head.cls_logits.bias", torch.zeros(())),
        ("head.cls_logits.weight", torch.zeros(3)),
        ("head.cls_logits.weight", torch.zeros(3, 8, 3, 3)),
        ("head.cls_logits.bias", [1.0, 2.0, 3.0]),
        ("head.cls_logits.bias", None),
        ("head.cls_logits.bias", torch.tensor([0.0, float("nan"), 0.0])),
        ("fpn.p6.bias", torch.zeros(3)),
        ("fpn.p6.bias", torch.full((16,), float("inf"))),
    ],
    ids=["no rows", "rows of nothing", "narrower", "a list", "missing", "row not finite", "misshapen", "not finite"],
)
@pytest.mark.parametrize("ours", ["abc", "cxb"])
def test_tensors_that_do_not_fit_are_one_line_and_change_nothing(name: str, value: Any, ours: str) -> None:
    weights = weights_of("abc")
    tensors: dict[str, Tensor] = {other: tensor for other, tensor in weights.tensors.items() if other != name}
    if value is not None:
        tensors[name] = value
    detector, untouched = fresh(ours, 3), fresh_state(ours, 3)
    with pytest.raises(CheckpointError, match=rf"^old\.pt: .*{name}") as caught:
        load_start(detector, weights._replace(tensors=tensors))
    assert "\n" not in str(caught.value)
    assert all(torch.equal(tensor, untouched[other]) for other, tensor in detector.state_dict().items())


@pytest.mark.parametrize("theirs", ["frozen", "affine", "batch"])
@pytest.mark.parametrize("ours", ["frozen", "affine", "batch"])
def test_kinds_of_norm_interchange(theirs: Any, ours: Any) -> None:
    weights = weights_of("abc", dataclasses.replace(SMALL, norm=theirs))
    config, changed = starting_model(weights, dataclasses.replace(SMALL, norm=ours), chosen=("norm",))
    assert (config.norm, changed) == (ours, {})
    detector = fresh("abc", 3, config)
    load_start(detector, weights)
    counters = 0
    for name, tensor in detector.state_dict().items():
        if name.endswith("num_batches_tracked"):
            counters += 1
            assert tensor == weights.tensors.get(name, 0)
        else:
            assert torch.equal(tensor, weights.tensors[name]), name
    assert counters == (0 if ours == "frozen" else 20)
    original = Detector(weights.config, ("a", "b", "c"))
    original.load_state_dict(dict(weights.tensors))
    images = torch.full((1, 3, 64, 64), 50, dtype=torch.uint8)
    with torch.inference_mode():
        a, b = (d.eval().backbone(d.normalise(images, torch.tensor([[64, 64]]))) for d in (original, detector))
    for mine, other in zip(a, b, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=0)


def test_a_detector_decides_all_but_the_norm_and_the_size_of_test_images() -> None:
    theirs = ModelConfig(
        backbone="resnet101",
        norm="frozen",
        norm_eps=0.0,
        stride_in_1x1=True,
        dcn_stages=(3, 4, 5),
        channels=128,
        tower_depth=2,
        tower_dcn=True,
        first_level=2,
        p7_relu=False,
        mean=CAFFE_MEAN,
        std=(1.0, 1.0, 1.0),
        bgr=True,
        anchor_scale=4.0,
        anchor_offset=0.0,
        legacy=True,
        threshold_joint=True,
        min_size=864,
        max_size=1440,
    )
    assert all(value != getattr(ModelConfig(), name) for name, value in vars(theirs).items() if name != "norm")
    weights = Weights(theirs, ("a",), 1, {}, {"file": "first.pt"}, "old.pt")
    asked = ModelConfig(norm="affine")
    config, changed = starting_model(weights, asked)
    assert config == dataclasses.replace(theirs, norm="affine", min_size=800, max_size=1333)
    followed = set(vars(theirs)) - {"norm", "min_size", "max_size"}
    assert changed == {name: (getattr(asked, name), getattr(theirs, name)) for name in followed}
    assert starting_model(weights, theirs) == (theirs, {})

    assert starting_model(weights, asked, chosen=("norm", "min_size", "max_size"))[0] == config
    agreed = dataclasses.replace(asked, channels=128)
    assert starting_model(weights, agreed, chosen=("channels",))[0] == config
    for name in followed:
        with pytest.raises(ConfigError) as caught:
            starting_model(weights, asked, chosen=(name, "norm"))
        expected = f"old.pt: holds a model with {name} {getattr(theirs, name)}, not {getattr(asked, name)}"
        assert str(caught.value) == expected
    with pytest.raises(ConfigError, match=r"with (bgr True, not False; legacy True, not False|legacy .*; bgr .*)$"):
        starting_model(weights, asked, chosen=("legacy", "bgr"))


def test_a_backbone_decides_its_name_and_its_input() -> None:
    fields = {"backbone": "resnet50", "stride_in_1x1": True, "mean": CAFFE_MEAN, "bgr": True}
    weights = BackboneWeights(fields, {}, (), "R-50.pkl")
    asked = ModelConfig(backbone="resnet18", norm="affine", channels=64, bgr=True, anchor_offset=0.0)
    config, changed = starting_model(weights, asked, chosen=("channels", "norm", "bgr", "anchor_offset"))
    assert config == dataclasses.replace(asked, **fields)
    assert changed == {
        "backbone": ("resnet18", "resnet50"),
        "stride_in_1x1": (False, True),
        "mean": (asked.mean, CAFFE_MEAN),
    }
    with pytest.raises(ConfigError, match=r"^R-50\.pkl: holds a model with backbone resnet50, not resnet18$"):
        starting_model(weights, asked, chosen=("backbone",))


def test_a_deformable_detector_starts_a_deformable_one() -> None:
    """Its offsets are copied from the file: all tensors of a detector are, none starts fresh."""
    config = dataclasses.replace(SMALL, backbone="resnet50", dcn_stages=(5,))
    weights = weights_of("a", config)
    detector = fresh("a", 3, starting_model(weights, dataclasses.replace(SMALL, backbone="resnet50"))[0])
    load_start(detector, weights)
    assert torch.equal(
        detector.state_dict()["backbone.layer4.0.conv2.offset.weight"],
        weights.tensors["backbone.layer4.0.conv2.offset.weight"],
    )
    with pytest.raises(CheckpointError, match=r"^old\.pt: .* 18 missing \(backbone\.layer3\.0\.conv2\.conv"):
        load_start(fresh("a", 3, dataclasses.replace(config, dcn_stages=(4, 5))), weights)
