"""What `paa eval` evaluates, recognised by its path: a checkpoint, an exported model, or another tool's results."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from paa.config import InferenceConfig, LoadingConfig, WeightsFormat
from paa.data.index import DatasetIndex
from paa.data.read_report import ReadReport, counted, left_out_lines, printable
from paa.errors import ConfigError
from paa.evaluation.predicted_iou import PredictedIou, predicted_iou
from paa.evaluation.results_file import is_results_file, read_results
from paa.export.detector import ExportedDetector
from paa.inference.dataset import DetectedDataset, detect_dataset
from paa.predictor import PAA, load
from paa.runtime.distributed import Process

ShowProgress = Callable[[int], AbstractContextManager[Callable[[int], None]]]
"""Shows a progress bar for a number of images, and yields the function that advances it."""


class Subject(Protocol):
    """Something that finds objects in a data set."""

    @property
    def names(self) -> tuple[str, ...] | None:
        """Return the classes that it knows; None for those of the data set."""
        ...

    def detect(self, whole: DatasetIndex, index: DatasetIndex, report: ReadReport) -> DetectedDataset:
        """Return the detections in the images of `index`, some of those of the `whole` data set.

        Their labels are those of the index. The index that is returned lacks images that cannot be read.
        """
        ...

    def predicted_iou(self, index: DatasetIndex) -> PredictedIou | None:
        """Return how the IoUs that it predicts compare with the true ones; None where it predicts none.

        index: its classes are in the order of `names`. To be called in one process.
        """
        ...


@dataclass(frozen=True)
class Checkpoint:
    """A detector in a checkpoint or an exported model, and how its images are loaded."""

    path: Path
    model: PAA
    process: Process
    loading: LoadingConfig
    show_progress: ShowProgress

    @property
    def names(self) -> tuple[str, ...]:
        """Return the classes of the detector, by label."""
        return self.model.names

    def detect(self, whole: DatasetIndex, index: DatasetIndex, report: ReadReport) -> DetectedDataset:
        """Detect in all images, shared among the processes."""
        if unknown := set(self.model.names) - set(index.names):
            raise ConfigError(f"{self.path}: finds {min(unknown)!r}, which is no class of what it is compared with")
        with self.show_progress(-(-len(index) // self.process.world)) as advance:
            found = detect_dataset(self.model, index, self.process, self.model.inference, self.loading, advance)
        label_of = np.array([index.names.index(name) for name in self.model.names], np.int64)
        return DetectedDataset(found.index, found.table.relabelled(label_of), found.left_out)

    def predicted_iou(self, index: DatasetIndex) -> PredictedIou | None:
        """Look at some images again; None for an exported model, whose graph gives scores only."""
        if isinstance(self.model, ExportedDetector):
            return None
        return predicted_iou(self.model, index, self.process.device, self.model.inference, self.loading)


@dataclass(frozen=True)
class ResultsFile:
    """A file in COCO's result format."""

    path: Path

    @property
    def names(self) -> None:
        """Return None: the file names classes as the data set does."""
        return None

    def detect(self, whole: DatasetIndex, index: DatasetIndex, report: ReadReport) -> DetectedDataset:
        """Read the file; results of images of the data set that are not evaluated are passed over."""
        before = len(report.left_out)
        table = read_results(self.path, whole, report)
        for line in left_out_lines(report.left_out[before:], self.path.name):
            logging.getLogger("paa").info(printable(line))
        table = table.moved(whole.image_ids, index.image_ids)
        if without := len(index) - len(np.unique(table.image)):
            of = f"{without} of {counted(len(index), 'image')}"
            logging.getLogger("paa").info(f"{self.path.name}: no result for {of}: as if nothing was found there")
        return DetectedDataset(index, table, [])

    def predicted_iou(self, index: DatasetIndex) -> None:
        """Return None: the file has scores only."""
        return


def open_subject(
    path: Path,
    format: WeightsFormat | None,
    process: Process,
    inference: InferenceConfig,
    loading: LoadingConfig,
    show_progress: ShowProgress,
) -> Subject:
    """Return what a path is; anything that is not a file of results is a checkpoint. A new kind is recognised here.

    format: of a checkpoint; None recognises it. CheckpointError for a checkpoint that cannot be read.
    """
    if is_results_file(path):
        return ResultsFile(path)
    model = load(path, str(process.device), format=format)
    model.inference = inference
    model.optimise(inference.precision, inference.compile)
    return Checkpoint(path, model, process, loading, show_progress)


def common_names(subjects: Sequence[Subject]) -> tuple[str, ...] | None:
    """Return the classes in whose order to read the data set: those of the first detector; None if there is none."""
    return next((subject.names for subject in subjects if subject.names is not None), None)


def detect_all(
    subjects: Sequence[Subject], whole: DatasetIndex, limit: int | None, report: ReadReport
) -> list[DetectedDataset]:
    """Return the detections of each subject in the same images: those that all of them could read.

    limit: only in the first images of the data set.
    """
    index = whole if limit is None else whole.select(np.arange(min(limit, len(whole))))
    found: list[DetectedDataset] = []
    for subject in subjects:
        found.append(subject.detect(whole, index, report))
        index = found[-1].index
    return [
        DetectedDataset(index, one.table.moved(one.index.image_ids, index.image_ids), one.left_out) for one in found
    ]
