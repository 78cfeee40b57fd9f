"""The optimizer of a recipe and the learning rate of every step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from paa.config import ScheduleConfig
from paa.model.detector import Detector


@dataclass(frozen=True)
class Schedule:
    """The learning rate of every step of one run, for its own batch size."""

    steps: int
    decays: tuple[int, ...]
    rate: float
    warmup_steps: int
    warmup_factor: float
    warmup: str
    shape: str

    def rate_at(self, step: int) -> float:
        """Return the rate of `step`, counted from 0."""
        rate = self.rate
        if self.shape == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * min(step / max(self.steps, 1), 1)))
        else:
            rate *= 0.1 ** sum(step >= decay for decay in self.decays)
        if step < self.warmup_steps:
            done = step / self.warmup_steps if self.warmup == "linear" else 0.0
            rate *= self.warmup_factor + (1 - self.warmup_factor) * done
        return rate


def make_schedule(config: ScheduleConfig, batch_size: int, pictures: int) -> Schedule:
    """Scale a recipe's schedule to a batch size: the rate by batch / reference, steps and decays by the inverse.

    pictures: in the training set, for a schedule given in epochs.
    """
    scale = config.reference_batch / batch_size
    steps, warmup = round(config.steps * scale), config.warmup_steps
    decays = tuple(round(decay * scale) for decay in config.decays)
    if config.epochs is not None:
        share = config.epochs * pictures / batch_size / max(steps, 1)
        decays = tuple(round(decay * share) for decay in decays)
        warmup = min(warmup, round(warmup * share))
        steps = max(1, round(steps * share))
    return Schedule(steps, decays, config.rate / scale, warmup, config.warmup_factor, config.warmup, config.shape)


def make_optimizer(detector: Detector, config: ScheduleConfig) -> Optimizer:
    """Return the recipe's optimizer over what is trained; each group's `factor` is its share of the schedule's rate.

    Biases learn at `bias_rate_factor` times the rate without decay (maskrcnn-benchmark's rule, by their names); trained
    batch norm has no decay either. With AdamW no vector has: other norms' weights, layer scales (ConvNeXt).
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
        factor = config.bias_rate_factor if bias else 1.0
        if name.startswith("backbone."):
            factor *= config.backbone_rate_factor
        alike.setdefault((decay, factor), []).append(parameter)
    groups = [{"params": params, "weight_decay": decay, "factor": f} for (decay, f), params in alike.items()]
    if adamw:
        return AdamW(groups, lr=config.rate, fused=True)
    return SGD(groups, lr=config.rate, momentum=0.9)


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Give every group its share of `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
