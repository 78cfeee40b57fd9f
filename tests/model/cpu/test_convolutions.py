"""Faster convolutions: which ones are replaced, and that a detector's outputs and gradients stay the same."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paa.config import ModelConfig
from paa.model.cpu.convolutions import use_fast_convolutions
from paa.model.cpu.strided import StridedConv2d
from paa.model.cpu.winograd import WinogradConv2d
from paa.model.detector import Detector


def relative(a: Tensor, b: Tensor) -> float:
    return float(((a - b).abs().max() / b.abs().max()).detach())


def test_which_convolutions_are_replaced() -> None:
    """All plain 3x3 ones; parameters stay themselves, under their names."""
    model = Detector(ModelConfig(backbone="resnet50", dcn_stages=(5,)), ("a", "b"))
    before = dict(model.named_parameters())
    expected: dict[str, type] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3) and module.groups == 1:
            expected[name] = {1: WinogradConv2d, 2: StridedConv2d}[module.stride[0]]
    use_fast_convolutions(model)
    after = dict(model.named_parameters())
    assert list(before) == list(after)
    assert all(after[name] is parameter for name, parameter in before.items())
    found = {name: type(m) for name, m in model.named_modules() if isinstance(m, (WinogradConv2d, StridedConv2d))}
    assert found == expected
    assert {"head.cls_logits", "fpn.output.2", "backbone.layer1.0.conv2", "fpn.p6"} <= set(found)
    assert found["backbone.layer2.0.conv2"] is StridedConv2d


def test_grouped_and_other_kernels_stay() -> None:
    kinds = [nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 5)]
    kinds += [nn.Conv2d(4, 4, 3, padding=1, dilation=2), nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")]
    kinds += [nn.Conv2d(4, 4, 3, padding=1, stride=3), nn.Conv2d(4, 4, 3, padding=1, stride=(1, 2))]
    module = nn.Sequential(*kinds)
    use_fast_convolutions(module)
    assert list(module) == kinds


def test_outputs_and_gradients_are_the_same() -> None:
    """Head outputs and the gradients of all parameters, on images large enough for Winograd's algorithm."""
    torch.manual_seed(0)
    model = Detector(ModelConfig(backbone="resnet18", channels=128, tower_depth=1), ("a", "b"))
    for parameter in model.parameters():
        if parameter.ndim == 4:
            nn.init.kaiming_normal_(parameter)
    images, sizes = torch.randint(256, (1, 3, 256, 320), dtype=torch.uint8), torch.tensor([[256, 320]])
    results = []
    for _ in range(2):
        outputs = model(images, sizes)
        total = torch.stack([t.sigmoid().sum() for t in outputs[:3]]).sum()
        results.append([*outputs[:3], *torch.autograd.grad(total, list(model.parameters()))])
        use_fast_convolutions(model)
    assert any(not torch.equal(a, b) for a, b in zip(*results)), "the fast convolutions were not used"
    for ours, theirs in zip(results[1], results[0], strict=True):
        assert relative(ours, theirs) < 1e-3


def test_a_detector_detects_the_same() -> None:
    model = Detector(ModelConfig(backbone="resnet18", channels=128, tower_depth=2), ("a", "b")).eval()
    images, sizes = torch.randint(256, (1, 3, 256, 320), dtype=torch.uint8), torch.tensor([[256, 320]])
    with torch.inference_mode():
        expected = model(images, sizes)
        use_fast_convolutions(model)
        for ours, theirs in zip(model(images, sizes)[:3], expected[:3]):
            assert not torch.equal(ours, theirs), "the fast convolutions were not used"
            assert relative(ours, theirs) < 1e-4
