from __future__ import annotations

import copy

import pytest
import torch

from paa.config import ModelConfig
from paa.export.padding import fix_padding
from paa.model.detector import Detector

pytest.importorskip("timm")


def test_constant_padding_equals_timms_for_sides_that_are_multiples_of_32() -> None:
    from timm.layers.conv2d_same import Conv2dSame

    torch.manual_seed(0)
    config = ModelConfig(backbone="timm/tf_efficientnet_lite0", channels=16, tower_depth=0)
    detector = Detector(config, ("a",)).eval()
    fixed = copy.deepcopy(detector)
    fix_padding(fixed)
    assert any(isinstance(module, Conv2dSame) for module in detector.modules())
    assert not any(isinstance(module, Conv2dSame) for module in fixed.modules())
    with torch.inference_mode():
        for height, width in ((32, 64), (96, 160)):
            images = torch.rand(1, 3, height, width)
            for before, after in zip(detector.backbone(images), fixed.backbone(images)):
                assert torch.equal(before, after)
