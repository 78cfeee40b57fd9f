"""Detection in a list of images, shard by shard, on an engine; a run that was stopped continues where it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from paa.batch_inference.addresses import file_system
from paa.batch_inference.detector import BatchDetector
from paa.batch_inference.on_ray import on_ray
from paa.batch_inference.output_folder import WRITING, OutputFolder
from paa.batch_inference.processes import in_processes
from paa.batch_inference.shards import ERRORS, Shard, begin_or_continue, describe, shards_of, unfinished
from paa.batch_inference.tables import import_pyarrow
from paa.batch_inference.task import ShardDone, ShardTask

EngineName = Literal["processes", "ray"]

Engine = Callable[[ShardTask, Sequence[Shard], int | None], Iterator[ShardDone]]
"""Does all shards, with so many workers, and yields each when it is done. It may begin a shard again."""

_ENGINES: dict[EngineName, Engine] = {"processes": in_processes, "ray": on_ray}


@dataclass(frozen=True)
class Finished:
    """What the folder holds now. images, detections: of this start; before: images that were finished before it.

    errors: images that could not be read, in all starts, and the first ten of them with the reasons, as lines.
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
    begin_or_continue(output, describe(detector, images, shard_size))
    output.remove(WRITING)
    todo = unfinished(shards, output)
    before = len(images) - sum(len(shard.images) for shard in todo)
    listen(before)
    done: list[ShardDone] = []
    if todo:
        for shard in _ENGINES[engine](ShardTask(detector, output), todo, workers):
            done.append(shard)
            listen(shard.images)
    output.remove(WRITING)
    count, first = _errors(output)
    return Finished(sum(s.images for s in done), sum(s.detections for s in done), before, count, first)


def _errors(output: OutputFolder) -> tuple[int, list[str]]:
    """Return how many images could not be read, in all shards, and the first ten with the reasons."""
    from pyarrow import dataset

    files, root = file_system(output.address)
    table = dataset.dataset(f"{root}/{ERRORS}", filesystem=files, format="parquet")
    return table.count_rows(), [f"{row['image']}: {row['error']}" for row in table.head(10).to_pylist()]
