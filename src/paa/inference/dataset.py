"""From a data set to the detections in all its images, over all processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from paa.config import InferenceConfig, LoadingConfig
from paa.data.index import DatasetIndex
from paa.data.loader import eval_loader
from paa.errors import DataError
from paa.inference.detect import detect_batch, resize_for
from paa.inference.table import DetectionTable
from paa.model.detector import Detector
from paa.runtime.distributed import Process


@dataclass(frozen=True)
class DetectedDataset:
    """The images of a data set that could be read, their detections, and a line for each image left out."""

    index: DatasetIndex
    table: DetectionTable
    left_out: list[str]


def detect_dataset(
    detector: Detector,
    index: DatasetIndex,
    process: Process,
    inference: InferenceConfig = InferenceConfig(),
    loading: LoadingConfig = LoadingConfig(),
    progress: Callable[[int], object] = lambda images: None,
) -> DetectedDataset:
    """Detect in every image, shared out among the processes, and return all detections to every process.

    Only images of the same padded size share a batch, so that the detections in an image do not depend on the others.
    An image that cannot be read and is skipped (`loading.skip_bad`) is removed from the returned index too, so that it
    is not evaluated. progress is called with the number of images done by this process since its last call. ImageError
    for an image that cannot be read, DataError if none can.
    """
    loader = eval_loader(index, resize_for(detector, inference), process, loading)
    tables: list[DetectionTable] = []
    for batch in loader:
        found = detect_batch(detector, batch.images, batch.sizes, batch.original_sizes, inference)
        tables.append(DetectionTable.from_batch(batch.positions, found))
        progress(len(batch))
    parts = process.gather((tables, loader.left_out_positions, loader.left_out))
    table = DetectionTable.concatenate([table for tables, _, _ in parts for table in tables])
    unread = sorted(position for _, positions, _ in parts for position in positions)
    lines = [line for _, _, lines in parts for line in lines]
    return DetectedDataset(*without_unread(index, table, unread), lines)


def without_unread(
    index: DatasetIndex, table: DetectionTable, unread: Sequence[int]
) -> tuple[DatasetIndex, DetectionTable]:
    """Return an index without the images at these positions, and the detections in the rest; DataError for no rest."""
    if not unread:
        return index, table
    read = np.setdiff1d(np.arange(len(index)), unread)
    if not len(read):
        raise DataError(f"{index.root}: none of the {len(index)} images can be read")
    return index.select(read), replace(table, image=np.searchsorted(read, table.image))
