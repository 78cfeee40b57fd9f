"""From a data set to the detections of all its images, over all processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from paa.config import InferenceConfig, WorkerConfig
from paa.data.index import DatasetIndex
from paa.data.loader import eval_loader
from paa.data.transforms import Resize
from paa.errors import ConfigError, DataError
from paa.inference.detect import check_inference, detect_batch
from paa.inference.table import DetectionTable
from paa.model.detector import Detector
from paa.runtime.distributed import Process


class Detected(NamedTuple):
    """The images of a data set that were detected in, their detections, and a line for each image left out."""

    data: DatasetIndex
    table: DetectionTable
    left_out: list[str]


def detect_dataset(
    detector: Detector,
    index: DatasetIndex,
    process: Process,
    *,
    batch_size: int = 8,
    workers: int = 2,
    worker_timeout: int = 300,
    skip_bad: bool = False,
    inference: InferenceConfig = InferenceConfig(),
    precision: str = "float32",
    progress: Callable[[int], object] = lambda images: None,
) -> Detected:
    """Detect in every image, each in one process, and return all detections to every process.

    Images are batched with others of their padded size only, so that a batch gives each what it would give alone.
    worker_timeout: seconds without a batch after which loader workers count as hung; 0: no limit. skip_bad: leave out
    images that cannot be read, of the data set too, so that they are not evaluated. progress is called with the number
    of images done by this process since its last call. ConfigError for an invalid setting, ImageError for an image that
    cannot be read, DataError where none can.
    """
    for name, value, least in (
        ("batch size", batch_size, 1),
        ("number of workers", workers, 0),
        ("worker timeout", worker_timeout, 0),
    ):
        if value < least:
            raise ConfigError(f"the {name} of an evaluation must be at least {least}, got {value}")
    check_inference(inference)
    config, device = detector.config, process.device
    resize = Resize(config.min_size if inference.views is None else None, config.max_size, config.legacy)
    loading = WorkerConfig(workers, worker_timeout)
    loader = eval_loader(index, resize, batch_size, process, loading, skip_bad=skip_bad)
    found: list[DetectionTable] = []
    for batch in loader:
        moved = batch.to(device)
        boxes, scores, labels = detect_batch(
            detector, moved.images, moved.sizes, batch.original_sizes, inference, precision
        )
        valid = labels >= 0
        image = batch.positions[:, None].expand_as(labels)
        columns = (image[valid], boxes[valid], scores[valid], labels[valid])
        found.append(DetectionTable(*(column.numpy() for column in columns)))
        progress(len(batch))
    parts = process.gather((found, loader.left_out_positions, loader.left_out))
    table = DetectionTable.concatenate([one for tables, _, _ in parts for one in tables])
    unread = sorted(position for _, positions, _ in parts for position in positions)
    return _without(unread, index, table, [line for _, _, lines in parts for line in lines])


def _without(unread: list[int], index: DatasetIndex, table: DetectionTable, left_out: list[str]) -> Detected:
    """Return the result for the images of an index but those at the positions `unread`, which have no detections."""
    if not unread:
        return Detected(index, table, [])
    read = np.setdiff1d(np.arange(len(index)), unread)
    if not len(read):
        raise DataError(f"{index.root}: none of the {len(index)} images can be read")
    return Detected(index.select(read), replace(table, image=np.searchsorted(read, table.image)), left_out)
