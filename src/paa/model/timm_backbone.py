"""Backbones from timm: any model with features of strides 8, 16 and 32, and 4 for P2; timm is imported on building."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from paa.errors import ConfigError, one_line
from paa.model.same_padding import fix_padding
from paa.runtime.extras import not_installed


class TimmBackbone(nn.Module):
    """A timm model that gives c3, c4 and c5; its tensors are under `body.model.` and timm's own names.

    channels: of c3, c4 and c5, with first_level 2 of c2 before them. With norm "frozen" its batch norms, if it has any,
    do not change; other norms are trained. ConfigError if timm has no such model, or its features do not have
    these strides at every image size.
    """

    def __init__(self, name: str, *, norm: str = "frozen", first_level: int = 3) -> None:
        super().__init__()
        self.name = name
        try:
            self.body = create_model(name, features_only=True, feature_cls="getter")
        except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(f"timm/{name}: gives no features ({one_line(error)})") from error
        fix_padding(self.body)
        if norm == "frozen":
            from timm.layers.norm_act import freeze_batch_norm_2d

            self.body = freeze_batch_norm_2d(self.body)  # type: ignore[no-untyped-call]
        reductions = self.body.feature_info.reduction()
        self.strides = (4, 8, 16, 32)[first_level - 2 :]
        if not set(self.strides) <= set(reductions):
            raise ConfigError(f"timm/{name}: gives features of strides {reductions}, not of {list(self.strides)}")
        self.picked = [reductions.index(stride) for stride in self.strides]
        self.depthwise = any(isinstance(m, nn.Conv2d) and m.groups == m.in_channels > 1 for m in self.body.modules())
        self.channels = tuple(self.body.feature_info.channels()[i] for i in self.picked)
        resize = getattr(self.body.model, "set_input_size", None)
        if resize is not None and "always_partition" in inspect.signature(resize).parameters:
            # a Swin made for 224 pixels takes its last stage for a single window, and never shifts it in larger images
            resize(always_partition=True)
        self._try()

    def _try(self) -> None:
        """Run one small image, neither square nor of the size the model was trained on; ConfigError if that fails.

        Parameters that no feature depends on are not trained: several processes would wait for their gradients.
        """
        self.eval()
        trained = [] if torch.is_inference_mode_enabled() else list(self.parameters())
        try:
            with torch.set_grad_enabled(bool(trained)):
                features = self(torch.zeros(1, 3, 96, 160))
                total = torch.stack([feature.sum() for feature in features]).sum()
                gradients = torch.autograd.grad(total, trained, allow_unused=True) if trained else ()
        except Exception as error:  # a model may fail in any way on a size that it was not made for
            raise ConfigError(f"timm/{self.name}: cannot take images of every size ({one_line(error)})") from error
        finally:
            self.train()
        shapes = [tuple(feature.shape[1:]) for feature in features]
        expected = [(c, 96 // stride, 160 // stride) for c, stride in zip(self.channels, self.strides)]
        if shapes != expected:
            raise ConfigError(f"timm/{self.name}: gives features of shapes {shapes}, expected {expected}")
        for parameter, gradient in zip(trained, gradients):
            parameter.requires_grad_(gradient is not None)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return c3, c4, c5 of images (B, 3, H, W), H and W multiples of 32; c2 before them with P2."""
        with self._precision(x):
            features = self.body(x)
        return tuple(features[i] for i in self.picked)

    def _precision(self, x: Tensor) -> AbstractContextManager[object]:
        """Return what computes in float32 where depthwise convolutions are trained on a CPU, also under autocast.

        In bfloat16 the gradients of those of 5x5, and of those of stride 2, take two to fifty times as long.
        """
        slow = self.depthwise and x.device.type == "cpu" and torch.is_grad_enabled()
        return torch.autocast("cpu", enabled=False) if slow else nullcontext()

    def fold(self) -> None:
        """Do nothing: which norms may be folded into which convolutions differs between models."""

    def stages(self) -> list[nn.Module]:
        """Return the stages, from the stem on: each ends in one of timm's features, and has all modules since the last.

        There are none if timm does not say in which module a feature ends.
        """
        ends = self.body.feature_info.module_name()
        stages: list[nn.Module] = []
        since: list[nn.Module] = []
        for name, module in _modules_up_to(self.body.model, ends):
            since.append(module)
            if name in ends:
                stages.append(nn.ModuleList(since))
                since = []
        return stages if len(stages) == len(ends) else []


def _modules_up_to(module: nn.Module, ends: Sequence[str], prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the names and modules inside a module, in order; those with an end inside are yielded in parts."""
    for child, part in module.named_children():
        name = f"{prefix}{child}"
        if any(end.startswith(f"{name}.") for end in ends):
            yield from _modules_up_to(part, ends, f"{name}.")
        else:
            yield name, part


def create_model(name: str, **options: Any) -> Any:
    """Return timm's model of that name, for images of any size; ConfigError if timm or the model is missing."""
    try:
        import timm
    except ImportError as error:
        raise ConfigError(f"timm/{name}: {not_installed('timm', 'timm')}") from error
    architecture = name.split(".")[0]
    # with a colon in the name, timm would fetch a model's description from elsewhere
    if not re.fullmatch(r"\w+(\.\w+)?", name, flags=re.ASCII) or not timm.is_model(architecture):
        near = timm.list_models(f"*{architecture.split('_')[0]}*")[:5] if re.fullmatch(r"\w+", architecture) else []
        hint = f"; similar names: {', '.join(near)}" if near else ""
        raise ConfigError(f"timm has no model {name!r}{hint}")
    try:
        # an option of Swin and others; models without a fixed size do not know it
        return timm.create_model(name, strict_img_size=False, **options)
    except TypeError as error:
        if "strict_img_size" not in str(error):
            raise
    return timm.create_model(name, **options)
