"""How many parts a step's batch must be computed in to fit in a GPU's memory, for the recipe `auto`."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from paa.config import Precision, Recipe
from paa.core.assignment import Assigner, PaaAssigner
from paa.core.losses import paa_losses
from paa.data.augment import TrainTransform
from paa.data.index import DatasetIndex
from paa.data.sampling import largest_size
from paa.model.detector import Detector, autocast
from paa.model.prepare import prepare_for_device, resolve_precision
from paa.runtime.distributed import Process
from paa.runtime.out_of_memory import is_out_of_memory
from paa.training.optimizer import make_optimizer
from paa.training.settings import TrainConfig

log = logging.getLogger("paa")


def fit_batch(
    config: TrainConfig, index: DatasetIndex, process: Process, assigner: Assigner = PaaAssigner()
) -> TrainConfig:
    """Return the configuration of a run of `auto` on a GPU with `accumulate` as small as its memory allows.

    Any other configuration is returned as it is. A step with the largest images of the data set is tried; the batch is
    the same in however many parts, and so is what is learned, but for the statistics of trained batch norm.
    """
    if not config.auto or process.device.type != "cuda" or "accumulate" in config.named:
        return config
    precision = resolve_precision(config.runtime.precision, process.device)
    share = math.ceil(config.batch_size / process.world)
    # of the whole batch, whose images are grouped by their shape before it is divided
    size = largest_size(index, TrainTransform(config.recipe.augment), config.batch_size)

    def fits(images: int) -> bool:
        return fits_in_memory(config.recipe, index, process.device, images, size, precision, assigner)

    # every process must come to the same number
    parts = min(max(process.gather(parts_that_fit(share, fits))), config.batch_size // process.world)
    if parts > 1:
        log.info(f"auto: each step in {parts} parts of {share // parts} images, which fit in the GPU's memory")
    return replace(config, accumulate=parts)


def parts_that_fit(images: int, fits: Callable[[int], bool]) -> int:
    """Return the least number of equal parts such that one fits; as many as there are images if not even one does."""
    return next((parts for parts in range(1, images) if images % parts == 0 and fits(images // parts)), images)


def next_parts(images: int, parts: int) -> int | None:
    """Return the next larger number of equal parts of that many images; None where a part is one image already."""
    return next((more for more in range(parts + 1, images + 1) if images % more == 0), None)


def fits_in_memory(
    recipe: Recipe,
    index: DatasetIndex,
    device: torch.device,
    images: int,
    size: tuple[int, int],
    precision: Precision,
    assigner: Assigner = PaaAssigner(),
) -> bool:
    """Return whether a training step of that many images of a size, padded (height, width), fits in memory."""
    try:
        _step(recipe, index, device, images, size, precision, assigner)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return True


def _step(
    recipe: Recipe,
    index: DatasetIndex,
    device: torch.device,
    images: int,
    size: tuple[int, int],
    precision: Precision,
    assigner: Assigner,
) -> None:
    """Compute a step of a new detector on blank images with as many objects as any image of the data set has."""
    height, width = size
    detector = Detector(recipe.model, index.names)
    detector.freeze(recipe.schedule.frozen_stages)
    prepare_for_device(detector.to(device), channels_last=True, fast_convolutions=False)
    optimizer = make_optimizer(detector, recipe.schedule)
    objects = max(1, int(np.diff(index.offsets).max()))
    boxes = torch.tensor([0.0, 0.0, width / 2, height / 2], device=device).expand(images, objects, 4)
    labels = torch.zeros((images, objects), dtype=torch.int64, device=device)
    pixels = torch.zeros((images, 3, height, width), dtype=torch.uint8, device=device)
    sizes = torch.tensor([[height, width]] * images, device=device)
    with autocast(precision, device):
        outputs = detector(pixels, sizes)
    legacy = recipe.model.legacy
    losses = paa_losses(outputs, detector.anchors(outputs), boxes, labels, assigner=assigner, legacy=legacy).losses
    torch.stack(list(losses.values())).sum().backward()
    optimizer.step()
