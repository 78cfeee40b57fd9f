"""The optimizer of a recipe: the learning rate and the decay of each parameter."""

from __future__ import annotations

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from paa.config import ScheduleConfig
from paa.model.detector import Detector


def make_optimizer(detector: Detector, config: ScheduleConfig) -> Optimizer:
    """Return the recipe's optimizer of all parameters that are trained, in groups of equal learning rate and decay.

    Each group's `factor` is its learning rate as a multiple of the schedule's. Biases learn at `bias_lr_factor` times
    the learning rate and without decay (maskrcnn-benchmark's rule, by their names); trained batch norm has no decay
    either. With AdamW no vector has decay: neither other norms' weights nor layer scales (ConvNeXt).
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
    return SGD(groups, lr=config.lr, momentum=0.9)


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Set the schedule's learning rate `lr`: each group gets its multiple of it."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["factor"]
