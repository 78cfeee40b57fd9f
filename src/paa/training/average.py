"""The moving average of a detector's weights, for runs that evaluate and save it in the weights' place."""

from __future__ import annotations

import copy

import torch

from paa.model.detector import Detector


class WeightAverage:
    """The exponential moving average of a detector's weights and batch norm statistics (Polyak & Juditsky 1992).

    Not torch's AveragedModel: at each update that copies its count to the device and waits, and it averages counts too.

    detector: a copy that has the average, in evaluation mode.
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
    def update(self, updates: int) -> None:
        """Move towards the weights; `updates` were made before, and the fewer they are the faster old weights fade.

        The decay is at most (1 + updates) / (10 + updates), TensorFlow's rule, so that short runs have an average too.
        """
        decay = min(self.decay, (1 + updates) / (10 + updates))
        torch._foreach_lerp_(self.averages, self.weights, 1 - decay)
        for ours, theirs in self.counts:  # of batch norm's batches
            ours.copy_(theirs)
