"""What a worker does with a shard, whatever engine it belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from paa.batch_inference.detector import BatchDetector
from paa.batch_inference.output_folder import OutputFolder
from paa.batch_inference.shards import DETECTIONS, ERRORS, Shard
from paa.batch_inference.tables import ImageResult, detections_of, errors_of, to_table
from paa.data.read_report import NAMED
from paa.errors import RunError

_ROWS = 200  # images in a group of rows, which is what a worker has in memory of a shard
TRIES = 3
"""How many workers may die at a shard."""


@dataclass(frozen=True)
class ShardDone:
    """What was found in a shard.

    images: all of them, those that cannot be read included. errors: of those that cannot be, the number; first_errors:
    the first `NAMED` of them with the reasons, as lines.
    """

    number: int
    images: int
    detections: int
    errors: int
    first_errors: list[str]


@dataclass(frozen=True)
class ShardTask:
    """Detects in a shard's images and writes both of its files, the detections last.

    So a shard whose detections are there is complete, whatever became of its worker; and where two workers have the
    same shard, as after a network that was cut, the second one's files take the place of equal ones.

    content: the hash of the checkpoint that the run began with. One that is replaced meanwhile, as by a training that
    goes on, ends the run: its detections are not those of the shards before.
    """

    detector: BatchDetector
    output: OutputFolder
    content: str

    def __call__(self, shard: Shard) -> ShardDone:
        """RunError where a store fails or the checkpoint is another one; the shard's files are not there then."""
        import pyarrow.parquet as parquet

        self._check_checkpoint()
        detections, failed = 0, list[str]()
        results = self.detector.results((image, None) for image in shard.images)
        schema = to_table([])
        with (
            self.output.new_file(f"{DETECTIONS}/{shard.file}") as found_path,
            self.output.new_file(f"{ERRORS}/{shard.file}") as errors_path,
            parquet.ParquetWriter(found_path, detections_of(schema).schema) as found_file,
            parquet.ParquetWriter(errors_path, errors_of(schema).schema) as errors_file,
        ):
            for some in _groups(results):
                table = to_table(some)
                found_file.write_table(detections_of(table))
                errors_file.write_table(errors_of(table))
                detections += sum(len(result.detections) for result in some if result.detections is not None)
                failed += [f"{result.image}: {result.error}" for result in some if result.detections is None]
            self._check_checkpoint()  # also after it was loaded
        return ShardDone(shard.number, len(shard.images), detections, len(failed), failed[:NAMED])

    def _check_checkpoint(self) -> None:
        if self.detector.content() not in (self.content, ""):  # one that is not there is an error of loading it
            raise RunError(
                f"{self.detector.checkpoint}: is not the checkpoint any more that the run began with; name a copy that "
                "stays"
            )


def worker_died(shard: Shard) -> RunError:
    """Return the error for a shard at which `TRIES` workers died: another one would die too."""
    return RunError(
        f"{shard.span}: {TRIES} workers died there; where memory is short, fewer --engine.workers help, or leave out "
        "the image that does it"
    )


def _groups(results: Iterator[ImageResult]) -> Iterator[list[ImageResult]]:
    while some := list(islice(results, _ROWS)):
        yield some
