"""Batches for training and evaluation, loaded by worker processes."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Iterator
from functools import partial

import torch
from torch.utils.data import DataLoader

from paa.config import LoadingConfig, WorkerConfig
from paa.data.augment import TrainTransform
from paa.data.batch import Batch
from paa.data.datasets import EvalDataset, Loaded, PlannedDataset, TrainDataset
from paa.data.images.remarks import warn_once
from paa.data.index import DatasetIndex
from paa.data.read_report import NAMED
from paa.data.sampling import BatchPlan, Sampling, TrainBatches, eval_batches, largest_size
from paa.data.transforms import Resize
from paa.data.workers import (
    Reading,
    WorkerEndedError,
    check_shared_memory,
    receive,
    start_workers,
    worker_errors,
)
from paa.errors import DataError, PaaError
from paa.runtime.distributed import Process
from paa.runtime.stop_signals import ignore_stop_signals

log = logging.getLogger("paa")

_PREFETCHED = 2  # batches that each worker loads in advance
_RESTARTS = 3  # times in a row, without a batch between, that workers which ended are started again
_SLACK = 2**15  # bytes: boxes, labels and sizes of a batch, in whole pages
_warned: set[str] = set()  # messages that any loader has logged; a run has a new loader for each evaluation


def train_loader(
    index: DatasetIndex,
    transform: TrainTransform,
    sampling: Sampling,
    process: Process = Process(torch.device("cpu")),
    workers: WorkerConfig = WorkerConfig(),
    *,
    skip_bad: bool = False,
) -> Loader:
    """Return this process's share of the training batches, each step's in `sampling.parts` batches.

    The batch of a step is the same wherever the run started and however many workers load it. skip_bad: an image that
    cannot be read is replaced by another of its aspect class. Raises DataError for a data set without objects.
    """
    if len(index) == 0 or bool(index.crowd.all()):
        raise DataError(f"{index.root}: nothing to train on: no objects")
    plans = TrainBatches(index, transform, sampling, process.rank, process.world)
    images = math.ceil(sampling.batch_size / (process.world * sampling.parts))
    largest = _shared_bytes(images, largest_size(index, transform, sampling.batch_size))
    # in use: the batches of a step, and those of the step before, which are kept until its losses have been checked
    waiting = min(len(plans), _waiting_batches(workers, 2 * sampling.parts))
    return Loader(TrainDataset(index, skip_bad, transform), plans, process, workers, shared_bytes=waiting * largest)


def eval_loader(
    index: DatasetIndex,
    resize: Resize,
    process: Process = Process(torch.device("cpu")),
    loading: LoadingConfig = LoadingConfig(),
) -> Loader:
    """Return this process's share of the images, each once, with their ground truth.

    Which images share a batch (see `eval_batches`) does not depend on the number of processes. With `loading.skip_bad`
    an image that cannot be read is left out of its batch, and noted in the loader's `left_out` and
    `left_out_positions`.
    """
    plans = eval_batches(index, resize, loading.batch_size)
    # the first process's batches, so that all processes compute the same amount
    sizes = sorted(_shared_bytes(len(plan.positions), plan.size) for plan in plans[:: process.world])
    waiting = sum(sizes[-_waiting_batches(loading) :]) if loading.workers else 0
    share = plans[process.rank :: process.world]
    return Loader(EvalDataset(index, loading.skip_bad, resize), share, process, loading, shared_bytes=waiting)


def _waiting_batches(workers: WorkerConfig, in_use: int = 1) -> int:
    """Return how many batches are in shared memory at most: those loaded in advance, and those in use."""
    return workers.workers * _PREFETCHED + in_use if workers.workers else 0


def _shared_bytes(images: int, size: tuple[int, int]) -> int:
    """Return the shared memory that a batch of this many images, padded to `size`, takes on its way from a worker."""
    return images * 3 * size[0] * size[1] + _SLACK


class Loader:
    """An iterable of `Batch`es, of known length; raises in this process the ImageError of a worker.

    Workers that end early, as where the system takes back their memory, are started again: the batches stay the same.
    RunError if they end again and again, cannot be started, hand over no batch in time, or have too little shared
    memory.
    """

    def __init__(
        self,
        dataset: PlannedDataset,
        plans: TrainBatches | list[BatchPlan],
        process: Process,
        workers: WorkerConfig,
        *,
        shared_bytes: int,
    ) -> None:
        """shared_bytes: the shared memory that all waiting batches take at most."""
        self.dataset = dataset
        self.plans = plans
        self.shared_bytes = shared_bytes
        self.left_out_positions: set[int] = set()
        self._left_out: dict[str, None] = {}
        self._workers, self._pin_memory = workers, process.device.type == "cuda"

    def __len__(self) -> int:
        return len(self.plans)

    @property
    def left_out(self) -> list[str]:
        """Return a line for each image left out so far."""
        return list(self._left_out)

    def __iter__(self) -> Iterator[Batch]:
        check_shared_memory(self.shared_bytes)
        for loaded in self._loaded():
            for remark in loaded.remarks:
                warn_once(remark)
            for position, message in loaded.left_out:
                self._note(position, message)
            if isinstance(loaded.batch, PaaError):
                raise loaded.batch
            if loaded.batch is not None:
                yield loaded.batch

    def _loaded(self) -> Iterator[Loaded]:
        """Yield what is loaded for each plan; workers that end are started again with the plans that are still due."""
        due: deque[BatchPlan] = deque()  # handed to workers, and not loaded yet
        rest, failures = iter(self.plans), 0

        def plans() -> Iterator[BatchPlan]:
            yield from tuple(due)
            for plan in rest:
                due.append(plan)
                yield plan

        while True:
            try:
                for loaded in self._load(plans()):
                    due.popleft()
                    failures = 0
                    yield loaded
                return
            except WorkerEndedError as error:
                failures += 1
                if failures > _RESTARTS:
                    raise
                log.warning("%s; the workers are started again", error)

    def _load(self, plans: Iterator[BatchPlan]) -> Iterator[Loaded]:
        """Yield what is loaded for these plans, in their order."""
        workers = self._workers.workers
        reading = Reading(workers)
        loader: DataLoader[Loaded] = DataLoader(
            self.dataset,
            sampler=plans,
            batch_size=None,  # an item is a batch, so a worker loads one batch at a time
            num_workers=workers,
            prefetch_factor=_PREFETCHED if workers else None,
            pin_memory=self._pin_memory,
            worker_init_fn=partial(_begin_worker, reading),
        )

        def image_of(worker: int) -> str | None:
            position = reading.of(worker)
            return None if position is None else str(self.dataset.index.path(position))

        with worker_errors(communicates=workers > 0):
            yield from receive(start_workers(loader), self._workers.worker_timeout, image_of)

    def _note(self, position: int, message: str) -> None:
        """Keep the note of an image left out; warn about the first few, unless another loader already did."""
        self.left_out_positions.add(position)
        message = " ".join(message.splitlines())
        self._left_out[message] = None
        if message in _warned:
            return
        _warned.add(message)
        if len(self._left_out) <= NAMED:
            log.warning("%s; %s", message, self.dataset.consequence)
        elif len(self._left_out) == NAMED + 1:
            log.warning("more images cannot be read, and are left out")


def _begin_worker(reading: Reading, worker: int) -> None:
    torch.set_num_threads(1)
    reading.begin(worker)
    ignore_stop_signals()  # a scheduler may send them to all processes, and the main one still needs its batches
