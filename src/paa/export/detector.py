"""An exported model as a `Detector`, so that prediction and evaluation take it in place of a checkpoint's."""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor, nn
from typing_extensions import Self

from paa.config import InferenceConfig
from paa.core import DetectedBatch
from paa.errors import ConfigError
from paa.export.session import ExportedGraph
from paa.model.detector import Detector


class ExportedDetector(Detector):
    """A detector whose network and post-processing are an exported graph: it has no weights, and nothing to train.

    Images go to the graph as they do to `Detector.detect`, or with `resizes` at their original size.
    """

    def __init__(self, graph: ExportedGraph) -> None:
        nn.Module.__init__(self)  # not Detector's, which builds the network
        self.graph = graph
        self.config, self.names = graph.description.config, graph.description.names
        self.resizes = graph.description.settings.resize
        self.most_detections = graph.description.settings.max_detections
        self.register_buffer("mean", torch.tensor(self.config.mean).view(1, 3, 1, 1), persistent=False)
        self.train(False)

    def detect(self, images: Tensor, sizes: Tensor, config: InferenceConfig = InferenceConfig()) -> DetectedBatch:
        """Return the detections of a batch; ConfigError for settings that are others in the graph."""
        if config.precision == "bfloat16" or config.compile != "off":
            self._refuse("precision and compilation were decided when it was exported")
        return self.graph.detect(images, sizes, config)

    def train(self, mode: bool = True) -> Self:
        """Set evaluation mode; ConfigError for training mode."""
        if mode:
            self._refuse("it cannot be trained")
        self.training = False
        return self

    def forward(self, images: Tensor, sizes: Tensor) -> NoReturn:
        """Raise ConfigError: an exported model gives detections only."""
        self._refuse("it gives detections, not the outputs of the head")

    def freeze(self, stages: int) -> NoReturn:
        """Raise ConfigError: there is nothing to freeze."""
        self._refuse("it cannot be trained")

    def _refuse(self, why: str) -> NoReturn:
        raise ConfigError(f"{self.graph.path}: an exported model: {why}; use the checkpoint that it was exported from")
