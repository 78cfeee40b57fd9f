"""Evaluate a detector, or detections, on a data set: compare what is found in its images with the ground truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from paa.config import InferenceConfig, LoadingConfig
from paa.data.index import DatasetIndex
from paa.evaluation.metrics import MAX_DETECTIONS, CocoMetrics, Evaluation, evaluate
from paa.evaluation.operating_point import ClassCurve, precision_recall
from paa.inference.dataset import DetectedDataset, detect_dataset
from paa.inference.table import DetectionTable
from paa.model.detector import Detector
from paa.runtime.distributed import Process


@dataclass(frozen=True)
class EvaluatedDataset:
    """Detections in a data set, and how they compare with its ground truth.

    index: the images that could be read. table: the detections in them. evaluation: the same detections, matched to
    the ground truth. left_out: a line for each image left out.
    """

    index: DatasetIndex
    table: DetectionTable
    evaluation: Evaluation
    left_out: list[str]

    @property
    def metrics(self) -> CocoMetrics:
        """COCO's numbers."""
        return self.evaluation.metrics

    @cached_property
    def curves(self) -> tuple[ClassCurve, ...]:
        """Each class's precision-recall curve and best operating point at IoU 0.5, by label."""
        return precision_recall(self.evaluation)


def evaluate_dataset(
    detector: Detector,
    index: DatasetIndex,
    process: Process,
    inference: InferenceConfig = InferenceConfig(),
    loading: LoadingConfig = LoadingConfig(),
    progress: Callable[[int], object] = lambda images: None,
) -> EvaluatedDataset | None:
    """Return how well a detector does on a data set; all processes must call it, and share the images among them.

    Only the first process compares with the ground truth; the others return None. progress is called with the number of
    images done by this process since its last call. Raises as `detect_dataset`, and ConfigError where the detector
    finds a class that the data set does not have.
    """
    found = detect_dataset(detector, index, process, inference, loading, progress)
    if not process.first:
        return None
    return evaluate_detections(found, inference.max_detections)


def evaluate_detections(found: DetectedDataset, max_detections: int = MAX_DETECTIONS) -> EvaluatedDataset:
    """Return how detections, of a detector or a file, compare with the ground truth. Raises as `evaluate`."""
    evaluation = evaluate(found.index, found.table, max_detections=max_detections)
    return EvaluatedDataset(found.index, found.table, evaluation, found.left_out)
