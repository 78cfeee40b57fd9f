"""From a data set to the detections of all its pictures, over all processes."""

from __future__ import annotations

from collections.abc import Callable

from paa.config import InferenceConfig
from paa.data.index import DatasetIndex
from paa.data.loader import eval_loader
from paa.engine.detect import check_inference, detect_batch
from paa.engine.distributed import Process
from paa.engine.table import DetectionTable
from paa.errors import ConfigError
from paa.model.detector import Detector


def detect_dataset(
    detector: Detector,
    index: DatasetIndex,
    process: Process,
    *,
    batch_size: int = 8,
    workers: int = 2,
    inference: InferenceConfig = InferenceConfig(),
    precision: str = "float32",
    progress: Callable[[int], object] = lambda pictures: None,
) -> DetectionTable:
    """Detect in every picture, each in one process, and return all detections to every process.

    Images are batched with others of their padded size only, so that a batch gives each what it would give alone.
    progress is called with the number of images done by this process since its last call. ConfigError for an invalid
    setting, ImageError for an image that cannot be read.
    """
    for name, value, least in (("batch size", batch_size, 1), ("number of workers", workers, 0)):
        if value < least:
            raise ConfigError(f"the {name} of an evaluation must be at least {least}, got {value}")
    check_inference(inference)
    config, device = detector.config, process.device
    loader = eval_loader(
        index,
        short=config.test_short if inference.views is None else None,
        longest=config.test_longest,
        legacy=config.legacy,
        batch_size=batch_size,
        rank=process.rank,
        world=process.world,
        workers=workers,
        pin_memory=device.type == "cuda",
    )
    tables: list[DetectionTable] = []
    for batch in loader:
        moved = batch.to(device)
        boxes, scores, labels = detect_batch(
            detector, moved.images, moved.sizes, batch.original_sizes, inference, precision
        )
        valid = labels >= 0
        image = batch.positions[:, None].expand_as(labels)
        columns = (image[valid], boxes[valid], scores[valid], labels[valid])
        tables.append(DetectionTable(*(column.numpy() for column in columns)))
        progress(len(batch))
    return DetectionTable.concatenate([table for part in process.gather(tables) for table in part])
