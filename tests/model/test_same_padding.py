"""timm's convolutions of "same" padding, made constant: the same results, and code compiled for any size in time."""

from __future__ import annotations

import copy

import pytest
import torch

from paa.model.same_padding import EvenSameConv2d, fix_padding
from paa.model.timm_backbone import TimmBackbone, create_model

timm_same = pytest.importorskip("timm.layers.conv2d_same")


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "tf_mixnet_s", "tf_mobilenetv3_small_075"])
def test_constant_padding_equals_timms_for_sides_that_are_multiples_of_32(name: str) -> None:
    torch.manual_seed(0)
    own = create_model(name, features_only=True).eval()
    fixed = copy.deepcopy(own)
    fix_padding(fixed)
    assert any(type(module) is timm_same.Conv2dSame for module in own.modules())
    assert not any(type(module) is timm_same.Conv2dSame for module in fixed.modules())
    assert [(name, value.shape) for name, value in fixed.state_dict().items()] == [
        (name, value.shape) for name, value in own.state_dict().items()
    ]
    with torch.inference_mode():
        for height, width in ((32, 64), (96, 160)):
            images = torch.rand(1, 3, height, width)
            for before, after in zip(own(images), fixed(images), strict=True):
                assert torch.equal(before, after)


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(3, 1, 1), (3, 2, 1), (5, 2, 1), (4, 2, 1), (1, 2, 1), (3, 2, 2)]
)
def test_every_kernel_stride_and_dilation(kernel: int, stride: int, dilation: int) -> None:
    own = timm_same.Conv2dSame(4, 6, kernel, stride=stride, dilation=dilation, groups=2)
    fixed = torch.nn.Sequential(copy.deepcopy(own))
    fix_padding(fixed)
    maps = torch.rand(2, 4, 14, 10)
    assert isinstance(fixed[0], EvenSameConv2d)
    assert torch.equal(own(maps), fixed(maps))


def test_a_backbone_has_constant_padding() -> None:
    kinds = {type(module) for module in TimmBackbone("tf_efficientnet_lite0").modules()}
    assert EvenSameConv2d in kinds
    assert timm_same.Conv2dSame not in kinds
