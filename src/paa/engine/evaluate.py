"""From a data set to the detections of all its pictures, over all processes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from paa.config import MultiScaleConfig
from paa.data.index import DatasetIndex
from paa.data.loader import eval_loader
from paa.data.transforms import stretch
from paa.engine.distributed import Process
from paa.engine.multi_scale import check_views, detect_multi_scale
from paa.engine.table import DetectionTable
from paa.errors import ConfigError
from paa.model.detector import Detector


def to_original(boxes: Tensor, sizes: Tensor, original_sizes: Tensor, legacy: bool) -> Tensor:
    """Return boxes (B, K, 4) of pictures resized to sizes (B, 2) in the pixels of their originals.

    legacy: the inclusive coordinates are scaled, as the seed does.
    """
    return stretch(boxes, (original_sizes / sizes).flip(1)[:, None].to(boxes.dtype), legacy)


def detect_dataset(
    detector: Detector,
    index: DatasetIndex,
    process: Process,
    *,
    batch_size: int = 8,
    workers: int = 2,
    voting: bool = True,
    multi_scale: MultiScaleConfig | None = None,
    precision: str = "float32",
    progress: Callable[[int], object] = lambda pictures: None,
) -> DetectionTable:
    """Detect in every picture, each in one process, and return all detections to every process.

    multi_scale: the views of each picture, if there is to be more than one. progress is called with the number of
    pictures done by this process since its last call. ConfigError for a batch below 1 and views that cannot be,
    ImageError for a picture that cannot be read.
    """
    for name, value, least in (("batch size", batch_size, 1), ("number of workers", workers, 0)):
        if value < least:
            raise ConfigError(f"the {name} of an evaluation must be at least {least}, got {value}")
    if multi_scale is not None:
        check_views(multi_scale)
    config, device = detector.config, process.device
    loader = eval_loader(
        index,
        short=config.test_short if multi_scale is None else None,
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
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            if multi_scale is None:
                found = detector.detect(moved.images, moved.sizes, voting=voting)
            else:
                found = detect_multi_scale(detector, moved.images, moved.sizes, multi_scale, voting=voting)
        boxes = to_original(found.boxes.cpu(), batch.sizes, batch.original_sizes, config.legacy)
        labels = found.labels.cpu()
        there = labels >= 0
        image = batch.positions[:, None].expand_as(labels)
        columns = (image[there], boxes[there], found.scores.cpu()[there], labels[there])
        tables.append(DetectionTable(*(column.numpy() for column in columns)))
        progress(len(batch))
    return DetectionTable.concatenate([table for part in process.gather(tables) for table in part])
