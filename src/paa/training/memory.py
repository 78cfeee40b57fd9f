"""What to say, and what to lower, where a step of training does not fit in a device's memory."""

from __future__ import annotations

from collections.abc import Sequence

from paa.data.batch import Batch
from paa.runtime.distributed import Process
from paa.runtime.out_of_memory import out_of_memory_line
from paa.training.fit_batch import next_parts
from paa.training.settings import TrainConfig


def step_too_large(config: TrainConfig, process: Process, parts: Sequence[Batch]) -> str:
    """Return a line on a step that did not fit, with what it was at and the options that help.

    parts: this process's images. The first option is `accumulate`, with which the same is learned.
    """
    largest = max((part.images for part in parts), key=lambda images: images.numel())
    size = largest.shape[2], largest.shape[3]
    helps = ["smaller images (augment.min_sizes, augment.max_size)", "a smaller --batch-size"]
    if config.runtime.precision == "float32" and process.device.type == "cuda":
        helps.insert(0, "--precision bfloat16")
    share = config.batch_size // process.world
    if (more := next_parts(share, config.accumulate)) is not None:
        helps.insert(0, f"--accumulate {more}, which computes the same batch in parts of {share // more} images")
    name = f" of recipe {config.recipe_name}" if config.recipe_name else ""
    return (
        f"{out_of_memory_line(process.device, len(largest), size)}, in a step{name} ({config.recipe.model.backbone}, "
        f"batch {config.batch_size}); what helps: {'; '.join(helps)}"
    )
