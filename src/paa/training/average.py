"""The moving average of a detector's weights, which a run with `schedule.ema` evaluates and saves instead of them."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from paa.model.detector import Detector


class WeightAverage:
    """The exponential moving average of a detector's weights and batch norm statistics (Polyak & Juditsky 1992).

    Not torch's AveragedModel, which at each update copies a counter to the device and waits, and averages counters too.

    detector: a copy of the trained one with the averaged weights, in evaluation mode.
    """

    def __init__(self, trained: Detector, decay: float) -> None:
        """trained: on its device, in its memory format; from here on its tensors may only change in place."""
        self.decay = decay
        self.detector = copy.deepcopy(trained).requires_grad_(False).eval()
        pairs = list(zip(self.detector.state_dict().values(), trained.state_dict().values()))
        self.averages = [ours for ours, _ in pairs if ours.is_floating_point()]
        self.weights = [theirs for _, theirs in pairs if theirs.is_floating_point()]
        self.counts = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self, updates: int, finite: Tensor | bool = True) -> None:
        """Move the average towards the present weights if `finite`, as a tensor () on their device, is true.

        updates: how many updates were made before, or skipped. The decay is at most (1 + updates) / (10 + updates),
        TensorFlow's rule: at the start of a run old weights fade faster, so that short runs have an average too.
        """
        decay = min(self.decay, (1 + updates) / (10 + updates))
        share = (1 - decay) * finite  # 0 leaves the average as it is
        for average, weight in zip(self.averages, self.weights):
            average.lerp_(weight, share)
        for ours, theirs in self.counts:  # how many batches a batch norm has seen
            ours.copy_(theirs)
