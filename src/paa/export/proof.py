"""Prove that an exported model detects what its checkpoint does: on sample images, and by the AP on a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from paa.config import InferenceConfig, LoadingConfig
from paa.core.boxes import iou
from paa.data.index import DatasetIndex
from paa.detections import Detections
from paa.errors import DataError
from paa.evaluation.dataset import evaluate_dataset
from paa.inference.predict import predict
from paa.inference.sources import Source
from paa.model.detector import Detector
from paa.runtime.distributed import Process

MOST_BOX, MOST_SCORE, MOST_ALONE = 1.0, 0.01, 0.02
"""The differences on sample images up to which an exported model counts as the same: pixels, score, share of
detections that only one of the two has."""


@dataclass(frozen=True)
class SampleDifferences:
    """How the detections of two models in the same images differ.

    detections: how many objects both found. box: the largest difference of a coordinate, in pixels of the original
    image; score: the largest difference of a score, both 0 without detections. alone: detections of one model without
    a counterpart (same class, IoU above 0.5) in the other's.
    """

    images: int
    detections: int
    box: float
    score: float
    alone: int

    @property
    def small(self) -> bool:
        """Whether the two models count as the same."""
        share = self.alone / max(1, self.alone + 2 * self.detections)
        return self.box <= MOST_BOX and self.score <= MOST_SCORE and share <= MOST_ALONE


def compare_samples(
    one: Detector, other: Detector, sources: Sequence[Source], inference: InferenceConfig
) -> SampleDifferences:
    """Detect in the images with both models and compare; ImageError for an image that cannot be read."""
    differences = [
        _compare(first, second)
        for (_, first), (_, second) in zip(predict(one, sources, inference), predict(other, sources, inference))
    ]
    return SampleDifferences(
        len(differences),
        sum(found.detections for found in differences),
        max((found.box for found in differences), default=0.0),
        max((found.score for found in differences), default=0.0),
        sum(found.alone for found in differences),
    )


def _compare(one: Detections, other: Detections) -> SampleDifferences:
    """Compare the detections in one image: each of the first has the best free one of its class as counterpart."""
    overlaps = iou(torch.from_numpy(one.boxes)[:, None], torch.from_numpy(other.boxes)[None]).numpy()
    overlaps = np.where(one.labels[:, None] == other.labels, overlaps, 0.0)
    box, score, pairs = 0.0, 0.0, 0
    free: npt.NDArray[np.bool_] = np.ones(len(other), bool)
    for i, row in enumerate(overlaps):
        row = np.where(free, row, 0.0)
        if not len(row) or row.max() <= 0.5:
            continue
        j = int(row.argmax())
        free[j], pairs = False, pairs + 1
        box = max(box, float(np.abs(one.boxes[i] - other.boxes[j]).max()))
        score = max(score, abs(float(one.scores[i] - other.scores[j])))
    return SampleDifferences(1, pairs, box, score, len(one) + len(other) - 2 * pairs)


def compare_aps(
    one: Detector, other: Detector, index: DatasetIndex, inference: InferenceConfig, loading: LoadingConfig
) -> tuple[float, float]:
    """Return the APs of both models on a data set, in percent; DataError if it has no objects.

    inference: as for both; the images of the data set are all looked at twice.
    """
    aps = []
    for detector in (one, other):
        evaluated = evaluate_dataset(detector, index, Process(torch.device("cpu")), inference, loading)
        assert evaluated is not None  # the only process
        ap = evaluated.metrics["AP"]
        if ap is None:
            raise DataError(f"{index.root}: has no objects, so that there is no AP to compare")
        aps.append(100 * ap)
    return aps[0], aps[1]
