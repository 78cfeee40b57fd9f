"""The optimizer of a recipe: the learning rate and the decay of each parameter."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from paa.config import ScheduleConfig
from paa.model.detector import Detector


def make_optimizer(detector: Detector, config: ScheduleConfig) -> Optimizer:
    """Return the recipe's optimizer of all parameters that are trained, in groups of equal learning rate and decay.

    Each group's `factor` is its learning rate as a multiple of the schedule's. Biases learn at `bias_lr_factor` times
    the learning rate and without decay (maskrcnn-benchmark's rule, by their names); trained batch norm has no decay
    either. With AdamW no vector has decay: neither other norms' weights nor layer scales (ConvNeXt).
    Both optimizers are torch's fused ones, which can skip a step (`step_if`).
    """
    adamw = config.optimizer == "adamw"
    norms = {id(p) for m in detector.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()}
    alike: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in detector.named_parameters():
        if not parameter.requires_grad:
            continue
        norm = id(parameter) in norms
        bias = "bias" in name and not norm
        decay = 0.0 if norm or bias or (adamw and parameter.ndim < 2) else config.weight_decay
        factor = config.bias_lr_factor if bias else 1.0
        if name.startswith("backbone."):
            factor *= config.backbone_lr_factor
        alike.setdefault((decay, factor), []).append(parameter)
    groups = [{"params": params, "weight_decay": decay, "factor": f} for (decay, f), params in alike.items()]
    if adamw:
        return AdamW(groups, lr=config.lr, fused=True)
    sgd = SGD(groups, lr=config.lr, momentum=0.9, fused=True)
    for group in sgd.param_groups:
        for parameter in group["params"]:
            # torch makes it in the first step, and leaves it without values where that step is skipped
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return sgd


def step_if(finite: Tensor, optimizer: Optimizer) -> None:
    """Let the optimizer make its step if `finite`, () bool on its device, is true; else weights and state stay.

    The decision is made on the device, so that nothing waits for it.
    """
    optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]  # by which torch's GradScaler says so too
    optimizer.step()


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Set the schedule's learning rate `lr`: each group gets its multiple of it."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["factor"]
