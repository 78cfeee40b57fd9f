"""Batches for training and evaluation, loaded by worker processes."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from paa.data.augment import Geometry, TrainTransform, padded_size
from paa.data.batch import Batch
from paa.data.images.read import collected_remarks, read_image, warn_once
from paa.data.index import DatasetIndex
from paa.data.read_report import NAMED, REMEDY
from paa.data.sampling import BatchPlan, ItemSeed, TrainBatches, is_tall, largest_size
from paa.data.transforms import resize, resized_size
from paa.data.workers import check_shared_memory, received, share, worker_errors
from paa.errors import DataError, ImageError, PaaError, RunError, one_line

log = logging.getLogger("paa")

_BOX_MULTIPLE = 8  # few different shapes, so that little is compiled or allocated anew
_ATTEMPTS = 100
_PREFETCHED = 2  # batches that each worker loads in advance
_warned: set[str] = set()  # of images left out; a run has a new loader for each evaluation
_SLACK = 2**15  # bytes: boxes, labels and sizes of a batch, in whole pages

Sample = tuple[Tensor, Tensor, Tensor]  # image (3, h, w) uint8, boxes (n, 4), labels (n,)


@dataclass
class Loaded:
    """One item of a loader's data set: a batch, or None if all its images were left out, or the error met instead.

    left_out: the position of each image that was left out, and why. remarks: warnings of images that were read.
    """

    batch: Batch | PaaError | None
    left_out: list[tuple[int, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def pin_memory(self) -> Loaded:
        """Return the item with its batch in page-locked memory (the DataLoader calls this when it pins)."""
        return replace(self, batch=self.batch.pin_memory()) if isinstance(self.batch, Batch) else self


def collate(images: Sequence[Tensor], size: tuple[int, int] | None = None, multiple: int = 32) -> tuple[Tensor, Tensor]:
    """Lay images (3, h, w) uint8 at the top left of (B, 3, H, W) zeros; also return their sizes (B, 2) int64.

    size: (H, W); by default the least multiples of `multiple` that hold every image. The batch lies in memory as
    (B, H, W, 3), as the images do: to sort their bytes by channel would take as long as to resize them.
    """
    sizes = [(image.shape[1], image.shape[2]) for image in images]
    height, width = size or padded_size(sizes, multiple)
    padded = torch.zeros((len(images), height, width, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    for canvas, image in zip(padded, images):
        canvas[:, : image.shape[1], : image.shape[2]] = image
    return padded, torch.tensor(sizes, dtype=torch.int64)


class Loader:
    """An iterable of `Batch`es, of known length; raises here the ImageError that a worker met.

    RunError for workers that cannot be started, end, hand over nothing for too long, or have too little shared memory.
    """

    def __init__(self, loader: DataLoader[Loaded], shared_bytes: int, instead: str) -> None:
        """shared_bytes: shared memory for all batches that wait. instead: what is done about an image left out."""
        self._loader = loader
        self._instead = instead
        self._left_out: dict[str, None] = {}
        self.shared_bytes = shared_bytes
        self.left_out_positions: set[int] = set()

    def __len__(self) -> int:
        return len(self._loader)

    @property
    def left_out(self) -> list[str]:
        """Return a line for each image left out so far."""
        return list(self._left_out)

    def __iter__(self) -> Iterator[Batch]:
        check_shared_memory(self.shared_bytes)
        with worker_errors(communicates=self._loader.num_workers > 0):
            for loaded in received(iter(self._loader), self._loader.timeout):
                for remark in loaded.remarks:
                    warn_once(remark)
                for position, message in loaded.left_out:
                    self._note(position, message)
                if isinstance(loaded.batch, PaaError):
                    raise loaded.batch
                if loaded.batch is not None:
                    yield loaded.batch

    def _note(self, position: int, message: str) -> None:
        """Keep what was left out, and warn of the first ones that no loader of this process met before."""
        self.left_out_positions.add(position)
        message = " ".join(message.splitlines())
        self._left_out[message] = None
        if message in _warned:
            return
        _warned.add(message)
        if len(self._left_out) <= NAMED:
            log.warning("%s; %s", message, self._instead)
        elif len(self._left_out) == NAMED + 1:
            log.warning("more images cannot be read, and are left out")


def train_loader(
    index: DatasetIndex,
    transform: TrainTransform,
    *,
    batch_size: int,
    seed: int,
    steps: int,
    start_step: int = 0,
    rank: int = 0,
    world: int = 1,
    workers: int = 2,
    worker_timeout: int = 300,
    skip_bad: bool = False,
    pin_memory: bool = False,
) -> Loader:
    """Return the steps - start_step training batches of one process; batch_size counts all processes' images.

    The batch of a step is the same wherever the run started and however many workers load it. worker_timeout: seconds
    without a batch after which workers count as hung; 0: no limit. skip_bad: an unreadable image is replaced by
    another of its aspect class. Raises DataError for a data set without objects.
    """
    if len(index) == 0 or bool(index.crowd.all()):
        raise DataError(f"{index.root}: nothing to train on: no objects")
    plans = TrainBatches(index, transform, batch_size, seed, steps, start_step, rank, world)
    size = largest_size(index, transform, batch_size)
    largest = [_shared_bytes(batch_size // world, size)] * min(len(plans), workers * _PREFETCHED + 1)
    dataset = _InWorker(_TrainSet(index, transform, skip_bad))
    loader = _loader(dataset, plans, workers, worker_timeout, pin_memory)
    return Loader(loader, sum(largest) if workers else 0, "another image is used instead")


def eval_loader(
    index: DatasetIndex,
    *,
    min_size: int | None,
    max_size: int,
    legacy: bool = False,
    batch_size: int = 1,
    rank: int = 0,
    world: int = 1,
    workers: int = 2,
    worker_timeout: int = 300,
    skip_bad: bool = False,
    pin_memory: bool = False,
) -> Loader:
    """Return one process's share of the images, each once, with their ground truth.

    An image is batched with others of its own padded size only: group norm sees the padding, so another size would
    change what is detected in it. batch_size counts one process's images. What is batched with what does not depend on
    the number of processes. min_size: the short side to which images are resized, the long one at most `max_size`;
    None: they keep their own size. worker_timeout: as for `train_loader`. skip_bad: an unreadable image is left out of
    its batch, and noted in the loader's `left_out` and `left_out_positions`.
    """
    by_size: dict[tuple[int, int], list[int]] = {}
    for i, (height, width) in enumerate(index.sizes.tolist()):
        by_size.setdefault(padded_size([_eval_size(height, width, min_size, max_size)]), []).append(i)
    plans = [
        BatchPlan(tuple(images[start : start + batch_size]), (), size)
        for size, images in sorted(by_size.items())
        for start in range(0, len(images), batch_size)
    ][rank::world]
    sizes_shared = sorted(_shared_bytes(len(plan.positions), plan.size) for plan in plans)
    dataset = _InWorker(_EvalSet(index, min_size, max_size, legacy, skip_bad))
    loader = _loader(dataset, plans, workers, worker_timeout, pin_memory)
    waiting = sizes_shared[-(workers * _PREFETCHED + 1) :] if workers else []
    return Loader(loader, sum(waiting), "it is left out")


def _loader(
    dataset: Dataset[Loaded],
    plans: Sampler[BatchPlan] | list[BatchPlan],
    workers: int,
    worker_timeout: int,
    pin_memory: bool,
) -> DataLoader[Loaded]:
    """Each item of the dataset is a batch (batch_size=None), so a worker loads one batch at a time."""
    return DataLoader(
        dataset,
        sampler=plans,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=_PREFETCHED if workers else None,
        timeout=worker_timeout if workers else 0,
        pin_memory=pin_memory,
        worker_init_fn=_one_thread,
    )


def _shared_bytes(images: int, size: tuple[int, int]) -> int:
    """Return the shared memory that a batch of this many images, padded to `size`, takes on its way from a worker."""
    return images * 3 * size[0] * size[1] + _SLACK


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)


def _eval_size(height: int, width: int, min_size: int | None, max_size: int) -> tuple[int, int]:
    return (height, width) if min_size is None else resized_size(height, width, min_size, max_size)


@dataclass(frozen=True)
class _InWorker(Dataset[Loaded]):
    """A data set as a worker sees it: its batches come in shared memory, and errors of memory are part of the item."""

    dataset: Dataset[Loaded]

    def __getitem__(self, plan: BatchPlan) -> Loaded:
        try:
            with collected_remarks() as remarks:
                loaded = self.dataset[plan]
            loaded.remarks = remarks
            if isinstance(loaded.batch, Batch) and get_worker_info() is not None:
                share(loaded.batch)
        except RunError as error:
            return Loaded(error)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not re.search("allocate|out of memory", str(error)):
                raise
            return Loaded(
                RunError(f"no memory to load a batch ({one_line(error)}); take a smaller batch or fewer --workers")
            )
        return loaded


@dataclass(frozen=True)
class _EvalSet(Dataset[Loaded]):
    index: DatasetIndex
    min_size: int | None
    max_size: int
    legacy: bool
    skip_bad: bool

    def __getitem__(self, plan: BatchPlan) -> Loaded:
        samples, positions, left_out = [], [], []
        for position in plan.positions:
            try:
                samples.append(self._sample(position))
                positions.append(position)
            except ImageError as error:
                if not self.skip_bad:
                    return Loaded(ImageError(f"{error}; {REMEDY}"))
                left_out.append((position, str(error)))
        return Loaded(_batch(self.index, samples, positions, plan.size) if samples else None, left_out)

    def _sample(self, position: int) -> Sample:
        image, boxes, labels = _read(self.index, position)
        size = _eval_size(image.shape[1], image.shape[2], self.min_size, self.max_size)
        return (*resize(image, boxes, size, self.legacy), labels)


@dataclass(frozen=True)
class _TrainSet(Dataset[Loaded]):
    index: DatasetIndex
    transform: TrainTransform
    skip_bad: bool

    def __getitem__(self, plan: BatchPlan) -> Loaded:
        samples, positions, left_out = [], [], []
        for position, seed in zip(plan.positions, plan.seeds):
            try:
                samples.append(self._sample(position, seed))
            except ImageError as error:
                if not self.skip_bad:
                    return Loaded(ImageError(f"{error}; {REMEDY}"))
                left_out.append((position, str(error)))
                replaced = self._replacement(position, seed, plan.size)
                if replaced is None:
                    return Loaded(ImageError(f"{error}; and so it is with {_ATTEMPTS} others"), left_out)
                position, sample = replaced
                samples.append(sample)
            positions.append(position)
        return Loaded(_batch(self.index, samples, positions, plan.size), left_out)

    def _sample(self, position: int, seed: ItemSeed, within: tuple[int, int] | None = None) -> Sample:
        """Read and change an image; `within`: the (height, width) that it must not exceed."""
        image, boxes, labels = _read(self.index, position)
        random = np.random.default_rng(seed)
        geometry = self.transform.draw(image.shape[1], image.shape[2], random)
        if within is not None:
            geometry = _shrink(geometry, within)
        return self.transform.apply(image, boxes, labels, geometry, random)

    def _replacement(self, position: int, seed: ItemSeed, within: tuple[int, int]) -> tuple[int, Sample] | None:
        """Return another image of the same aspect class and its position, the same for the same seed."""
        tall = is_tall(self.index)
        random = np.random.default_rng((*seed, 1))
        for other in random.permutation(np.flatnonzero(tall == tall[position]))[:_ATTEMPTS].tolist():
            try:
                return other, self._sample(other, seed, within)
            except ImageError:
                continue
        return None


def _shrink(geometry: Geometry, within: tuple[int, int]) -> Geometry:
    """Return the geometry without its crop, the whole image no larger than `within`."""
    height, width = geometry.size
    ratio = min(1, within[0] / height, within[1] / width)
    size = (max(1, int(height * ratio)), max(1, int(width * ratio)))
    return Geometry(size, (0, 0, *size), geometry.mirrored)


def _read(index: DatasetIndex, position: int) -> Sample:
    height, width = index.sizes[position].tolist()
    image = torch.from_numpy(read_image(index.path(position), (height, width))).permute(2, 0, 1)
    boxes, labels = index.targets(position)
    return image, torch.from_numpy(boxes), torch.from_numpy(labels)


def _batch(index: DatasetIndex, samples: Sequence[Sample], positions: Sequence[int], size: tuple[int, int]) -> Batch:
    images, sizes = collate([image for image, _, _ in samples], size)
    most = max(1, *(len(labels) for _, _, labels in samples))
    slots = -(-most // _BOX_MULTIPLE) * _BOX_MULTIPLE
    gt_boxes = torch.zeros((len(samples), slots, 4))
    gt_labels = torch.full((len(samples), slots), -1)
    for b, (_, boxes, labels) in enumerate(samples):
        gt_boxes[b, : len(boxes)] = boxes
        gt_labels[b, : len(labels)] = labels
    where = torch.tensor(positions)
    return Batch(images, sizes, gt_boxes, gt_labels, where, torch.from_numpy(index.sizes[where.numpy()]).long())
