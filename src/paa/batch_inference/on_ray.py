"""The engine `ray`: Ray Data hands the shards to actors, on this machine or on those of a cluster."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from paa.batch_inference.output_folder import WRITING, OutputFolder
from paa.batch_inference.shards import Shard
from paa.batch_inference.task import TRIES, ShardDone, ShardTask, worker_died
from paa.errors import ConfigError, PaaError, RunError, one_line
from paa.runtime.extras import not_installed

_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0"}
"""What Ray is told unless the environment says something else: no reports to its makers."""
_STORE = 2**27  # bytes of shared memory of a Ray that is started here, for addresses and counts; images do not go there


def on_ray(task: ShardTask, shards: Sequence[Shard], workers: int | None = None) -> Generator[ShardDone, None, None]:
    """Yield each shard when it is done, in any order.

    workers: actors; by default one for each GPU of the cluster, or else for each CPU. RAY_ADDRESS names a cluster;
    without it, and where this process is connected to none, Ray is started on this machine and ended. When an actor or
    its machine dies, Ray begins its shard again elsewhere. ConfigError if Ray is not installed.
    """
    if task.detector.device not in (None, "cpu", "cuda"):
        raise ConfigError("--engine ray: --device is cpu or cuda; Ray chooses which GPU")
    with _ray(workers) as ray:
        resources = ray.cluster_resources()
        gpus = 0 if task.detector.device == "cpu" else int(resources.get("GPU", 0))
        workers = workers or gpus or int(resources.get("CPU", 1))
        job = pickle.dumps(task)
        rows = [
            {"task": job, "number": shard.number, "images": [os.fsencode(image) for image in shard.images]}
            for shard in shards
        ]
        data = ray.data.from_items(rows, override_num_blocks=len(rows))
        done = data.map_batches(
            _Worker,
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(rows))),
            num_cpus=1,
            num_gpus=1 if gpus else None,
        )
        for row in done.iter_rows():
            if row["failed"] is not None:
                raise pickle.loads(row["failed"])
            yield pickle.loads(row["done"])


class _Worker:
    """Does one shard at a time. An error is handed over as a value, to be raised as it is, not wrapped in Ray's own."""

    def __call__(self, batch: Any) -> Any:
        import pyarrow

        row = batch.to_pylist()[0]
        shard = Shard(row["number"], [os.fsdecode(image) for image in row["images"]])
        done, failed = None, None
        task = pickle.loads(row["task"])
        try:
            _count_tries(shard, task.output)
            done = pickle.dumps(task(shard))
        except (PaaError, OSError, RuntimeError, MemoryError) as error:  # short memory of a GPU is a RuntimeError
            failed = pickle.dumps(error)
        return pyarrow.table(
            {name: pyarrow.array([value], pyarrow.binary()) for name, value in (("done", done), ("failed", failed))}
        )


def _count_tries(shard: Shard, output: OutputFolder) -> None:
    """Note that a shard is begun: Ray would begin one that ends each of its workers for ever. RunError at the last."""
    for number in range(TRIES):
        note = f"{WRITING}/{shard.file}-try-{number}"
        if output.read_text(note) is None:
            output.write_text(note, "")
            return
    raise worker_died(shard)


@contextmanager
def _ray(workers: int | None) -> Iterator[Any]:
    """Yield the module ray, connected: as this process is already, to the cluster of RAY_ADDRESS, or to a new one here.

    Only a new connection is ended with the block.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        ray = import_module("ray")
        ray_data = import_module("ray.data")
    except ImportError as error:
        raise ConfigError(f"--engine ray: {not_installed('ray', 'ray')}") from error
    ray_data.DataContext.get_current().enable_progress_bars = False
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if ray.is_initialized():
        yield ray
        return
    own = {"num_cpus": workers, "include_dashboard": False, "object_store_memory": _STORE}
    address = os.environ.get("RAY_ADDRESS")
    try:
        ray.init(address or "local", log_to_driver=False, logging_level=logging.CRITICAL, **({} if address else own))
    except Exception as error:  # it raises plain ones where its processes do not start in time
        raise RunError(f"--engine ray: Ray does not start: {one_line(error)}") from error
    try:
        yield ray
    finally:
        ray.shutdown()
