"""The detector as page and endpoint share it: images in, detections out, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace

import numpy as np

import paa
from paa.data.images.rgb import Rgb
from paa.detections import Detections
from paa.export.detector import ExportedDetector
from paa.inference.detect import resize_for
from paa.inference.prepared import Prepared, detect_prepared, prepare
from paa.predictor import PAA
from paa.serve.batcher import Batcher
from paa.serve.limits import Limits
from paa.serve.metrics import Metrics


class Service:
    """A model and its batcher. All methods may be called from any thread.

    threshold: the least score of detections that are shown, unless someone asks for another. voting: whether scores
    vote, likewise. fixed_voting: voting cannot be chosen, as it is part of an exported graph. least: the candidate
    threshold; of those below it only 0 can be asked for, which is all that is found.
    """

    def __init__(self, model: PAA, name: str, limits: Limits) -> None:
        """model: with the settings of `inference`, which count for every image. name: what people call it."""
        self.name, self.limits, self.metrics = name, limits, Metrics()
        self.names, self.device, self.version = model.names, str(model.mean.device), paa.__version__
        self.threshold, self.voting = model.inference.threshold, model.inference.voting
        self.fixed_voting = isinstance(model, ExportedDetector)
        # the network gives all that it finds, so that a threshold can move without it, but not between 0 and this
        self.least = model.inference.effective_candidate_threshold
        self._model = model
        self._config = replace(model.inference, threshold=0.0, candidate_threshold=self.least)
        self._resize = resize_for(model, self._config)
        self._batcher = Batcher(
            self._detect,
            max_batch=limits.max_batch,
            wait=limits.batch_wait / 1000,
            queue=limits.queue,
            observe=self.metrics.batch,
        )
        self.metrics.watch_queue(self._batcher.__len__)

    @property
    def ready(self) -> bool:
        """Whether images are taken."""
        return self._batcher.alive

    def warm_up(self) -> None:
        """Detect in a blank image, so that what the model cannot do is known now, and the first request is no slower.

        ConfigError for settings that an exported model does not have.
        """
        self._detect([self.prepare(np.zeros((480, 640, 3), np.uint8))], self.voting)

    def prepare(self, image: Rgb) -> Prepared:
        """Return an image ready to be submitted."""
        return prepare(image, self._resize)

    def submit(self, images: Sequence[Prepared], voting: bool) -> list[Future[Detections]]:
        """Return where the detections of all scores in each image will be; raises as `Batcher.submit`."""
        return self._batcher.submit(images, voting)

    def hurry(self) -> None:
        """From now on answer as soon as possible, as the server is about to end."""
        self._batcher.hurry()

    def close(self) -> None:
        """Take no more images, and return when those that wait are done."""
        self._batcher.close()

    def _detect(self, images: Sequence[Prepared], voting: bool) -> list[Detections]:
        return detect_prepared(self._model, images, replace(self._config, voting=voting))
