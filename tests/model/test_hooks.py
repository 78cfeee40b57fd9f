"""Hooks on any module fire each time it is used, in training as in evaluation, and change no number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
)
from torchvision.ops import DeformConv2d, FrozenBatchNorm2d

from paa.config import ModelConfig
from paa.model.cpu.convolutions import use_fast_convolutions
from paa.model.detector import Detector
from paa.model.hooks import is_hooked

pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing when gradients are computed")

SMALL: dict[str, Any] = {"channels": 64, "tower_depth": 2}
CONFIGS = {
    "resnet18, frozen": ModelConfig("resnet18", **SMALL),
    "resnet18, affine": ModelConfig("resnet18", norm="affine", **SMALL),
    "resnet50, batch": ModelConfig("resnet50", norm="batch", **SMALL),
    "resnet50, deformable": ModelConfig("resnet50", dcn_stages=(4, 5), tower_dcn=True, **SMALL),
    "timm, frozen": ModelConfig("timm/tf_efficientnet_lite0", **SMALL),
    "timm, without batch norm": ModelConfig("timm/convnext_atto", **SMALL),
}
KINDS = {
    "forward pre-hook": "register_forward_pre_hook",
    "forward hook": "register_forward_hook",
    "full backward pre-hook": "register_full_backward_pre_hook",
    "full backward hook": "register_full_backward_hook",
}
GLOBAL_KINDS = {
    "forward pre-hook": register_module_forward_pre_hook,
    "forward hook": register_module_forward_hook,
    "full backward pre-hook": register_module_full_backward_pre_hook,
    "full backward hook": register_module_full_backward_hook,
}
IMAGES = torch.randint(256, (2, 3, 64, 96), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
SIZES = torch.tensor([[64, 96], [50, 80]])


def is_watched(module: nn.Module) -> bool:
    """Whether a module is a convolution or a norm; timm has its own classes of norms."""
    kinds = (nn.Conv2d, DeformConv2d, nn.BatchNorm2d, FrozenBatchNorm2d, nn.GroupNorm, nn.LayerNorm)
    return isinstance(module, kinds) or type(module).__name__.startswith(("BatchNorm", "FrozenBatchNorm", "LayerNorm"))


def uses(name: str) -> int:
    """How often a forward pass calls a module: the head's once for each of the five levels, all others once."""
    return 5 if name.startswith("head.") else 1


def run(detector: Detector, backward: bool) -> tuple[Tensor, ...]:
    """Return the head outputs and, with `backward`, the gradients of all parameters as one vector."""
    detector.zero_grad()
    with torch.set_grad_enabled(backward):
        outputs = detector(IMAGES, SIZES)[:3]
    if not backward:
        return outputs
    torch.stack([output.sigmoid().sum() for output in outputs]).sum().backward()
    return (*outputs, torch.cat([p.grad.flatten() for p in detector.parameters() if p.grad is not None]))


def build(name: str) -> Detector:
    torch.manual_seed(0)
    return Detector(CONFIGS[name], ("a", "b"))


def count_calls(detector: Detector) -> Counter[tuple[str, str]]:
    """Register hooks of all kinds on each convolution and norm; return the counter of (kind, name of the module)."""
    fired: Counter[tuple[str, str]] = Counter()

    def count(kind: str, name: str) -> Callable[..., None]:
        return lambda *given: fired.update([(kind, name)])

    for name, module in detector.named_modules():
        if is_watched(module):
            for kind in KINDS:
                getattr(module, KINDS[kind])(count(kind, name))
    return fired


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("training", [True, False])
def test_hooks_fire_once_a_use(name: str, fast: bool, training: bool) -> None:
    """Hooks of all kinds where there are gradients, and forward ones without."""
    detector = build(name).train(training)
    if fast:
        use_fast_convolutions(detector)
    watched = [name for name, module in detector.named_modules() if is_watched(module)]
    assert len(watched) > 30
    fired = count_calls(detector)
    run(detector, backward=True)
    assert fired == {(kind, name): uses(name) for kind in KINDS for name in watched}
    fired.clear()
    run(detector, backward=False)
    assert fired == {(kind, name): uses(name) for kind in ("forward pre-hook", "forward hook") for name in watched}


@pytest.mark.parametrize("name", CONFIGS)
def test_hooks_change_no_number(name: str) -> None:
    detector = build(name).double().eval()
    expected = run(detector, backward=True)
    count_calls(detector)
    for ours, theirs in zip(run(detector, backward=True), expected, strict=True):
        assert (ours - theirs).abs().max() < 1e-10 * theirs.abs().max()


@pytest.fixture
def global_hook() -> Iterator[Callable[[str], list[nn.Module]]]:
    """Return a function that registers a hook of a kind on all modules, and returns the modules it was called with."""
    handles = []

    def register(kind: str) -> list[nn.Module]:
        called: list[nn.Module] = []
        handles.append(GLOBAL_KINDS[kind](lambda module, *given: called.append(module)))
        return called

    yield register
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("kind", GLOBAL_KINDS)
def test_hooks_on_all_modules(kind: str, global_hook: Callable[[str], list[nn.Module]]) -> None:
    detector = build("resnet50, deformable").eval()
    called = global_hook(kind)
    run(detector, backward="backward" in kind)
    count = Counter(called)
    assert {name: count[module] for name, module in detector.named_modules() if is_watched(module)} == {
        name: uses(name) for name, module in detector.named_modules() if is_watched(module)
    }
    assert count[detector] == count[detector.backbone.layer2[0].downsample] == 1


def test_what_a_hook_was_given_stays_as_it_was() -> None:
    """A ReLU or a sum in place would change what the hook kept."""
    detector = build("resnet18, frozen").eval()
    kept: list[tuple[Tensor, Tensor]] = []
    for module in detector.modules():
        if is_watched(module):
            module.register_forward_hook(lambda module, given, made: kept.append((made, made.clone())))
    run(detector, backward=False)
    assert kept
    assert all(torch.equal(now, then) for now, then in kept)
    assert any((then < 0).any() for _, then in kept)


def test_a_hook_can_change_what_a_norm_gives() -> None:
    detector = build("resnet18, frozen").eval()
    before = run(detector, backward=False)
    handle = detector.backbone.bn1.register_forward_hook(lambda module, given, made: torch.zeros_like(made))
    blank, _ = run(detector, backward=False)[0], handle.remove()
    assert not torch.equal(blank, before[0])
    assert torch.equal(run(detector, backward=False)[0], before[0])  # without it all is as it was


def test_derived_classes_of_convolutions_are_called() -> None:
    class Doubled(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    detector = build("resnet18, frozen").eval()
    doubled = Doubled(3, 64, 7, stride=2, padding=3, bias=False)
    doubled.weight = nn.Parameter(detector.backbone.conv1.weight / 2)
    before = run(detector, backward=False)
    detector.backbone.conv1 = doubled
    for ours, theirs in zip(run(detector, backward=False), before, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_which_modules_are_hooked() -> None:
    for register in KINDS.values():
        watched, other = nn.Identity(), nn.Identity()
        assert not is_hooked(watched, other)
        handle = getattr(watched, register)(lambda *given: None)
        assert is_hooked(other, watched)
        assert not is_hooked(other)
        handle.remove()
        assert not is_hooked(other, watched)
