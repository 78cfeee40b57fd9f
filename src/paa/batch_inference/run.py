"""Detection in a list of images, shard by shard, on an engine; a run that was stopped continues where it was."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from paa.batch_inference.addresses import file_system
from paa.batch_inference.detector import BatchDetector
from paa.batch_inference.on_ray import on_ray
from paa.batch_inference.output_folder import WRITING, OutputFolder
from paa.batch_inference.processes import in_processes
from paa.batch_inference.shards import CONTENT, ERRORS, Shard, begin_or_continue, describe, shards_of, unfinished
from paa.batch_inference.tables import import_pyarrow
from paa.batch_inference.task import ShardDone, ShardTask
from paa.data.read_report import NAMED

log = logging.getLogger("paa")

EngineName = Literal["processes", "ray"]

Engine = Callable[[ShardTask, Sequence[Shard], int | None], Generator[ShardDone, None, None]]
"""Does all shards, with so many workers, and yields each when it is done. It may begin a shard again."""

_ENGINES: dict[EngineName, Engine] = {"processes": in_processes, "ray": on_ray}


@dataclass(frozen=True)
class Finished:
    """What the folder holds now. images, detections: of this start; before: images that were finished before it.

    errors: images that could not be read, in all starts, and some of them with the reasons, as lines.
    """

    images: int
    detections: int
    before: int
    errors: int
    first_errors: list[str]


def detect_in_shards(
    detector: BatchDetector,
    images: Sequence[str],
    output: OutputFolder,
    engine: EngineName = "processes",
    *,
    workers: int | None = None,
    shard_size: int = 1000,
    listen: Callable[[int], object] = lambda images: None,
) -> Finished:
    """Detect in all images that `output` has no results of yet.

    images: addresses, sorted. workers: as for the engine. listen: is called with a number of images when so many more
    are finished. `output` gets detections/*.parquet and errors/*.parquet, a file for each shard with the columns of
    `paa.batch_inference.tables`, and run.json. Each image is in exactly one of the tables, whatever died meanwhile.
    RunError if `output` holds another run's results; CheckpointError and ConfigError for the detector's settings.
    """
    import_pyarrow()
    shards = shards_of(images, shard_size)
    detector.check()  # what is wrong with the settings is an error now, not in each worker
    with output.locked():
        description = describe(detector, images, shard_size)
        begin_or_continue(output, description)
        # workers may be in another folder
        task = ShardTask(detector, OutputFolder(str(output.local or output.address)), description[CONTENT])
        return _run(task, images, shards, output, engine, workers, listen)


def _run(
    task: ShardTask,
    images: Sequence[str],
    shards: Sequence[Shard],
    output: OutputFolder,
    engine: EngineName,
    workers: int | None,
    listen: Callable[[int], object],
) -> Finished:
    """Detect in the images of unfinished shards. task: of a worker; the others are those of `detect_in_shards`."""
    output.remove(WRITING)
    todo = unfinished(shards, output)
    missing = {shard.number for shard in todo}
    errors, first = _errors_of([shard for shard in shards if shard.number not in missing], output)
    images_done = detections = 0
    before = len(images) - sum(len(shard.images) for shard in todo)
    listen(before)
    if workers is not None and workers > len(shards) and not before:
        log.warning(f"{len(shards)} shards for {workers} workers: a smaller --engine.shard-size lets more of them work")
    if todo:
        with closing(_ENGINES[engine](task, todo, workers)) as finished:  # also by Ctrl-C
            for done in finished:
                images_done += done.images
                detections += done.detections
                errors += done.errors
                first = [*first, *done.first_errors][:NAMED]
                listen(done.images)
    output.remove(WRITING)
    return Finished(images_done, detections, before, errors, first)


def _errors_of(shards: Sequence[Shard], output: OutputFolder) -> tuple[int, list[str]]:
    """Return how many images of finished shards could not be read, and the first of them with the reasons."""
    if not shards:
        return 0, []
    from pyarrow import dataset

    files, root = file_system(output.address)
    paths = [f"{root}/{ERRORS}/{shard.file}" for shard in shards]
    table = dataset.dataset(paths, filesystem=files, format="parquet")
    return table.count_rows(), [f"{row['image']}: {row['error']}" for row in table.head(NAMED).to_pylist()]
