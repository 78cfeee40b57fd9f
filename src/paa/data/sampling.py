"""Which images are trained on at which step.

The sequence of global batches is a function of the data set, the batch size and the seed: it does not change with the
number of processes, of workers, or the step a run resumes at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from paa.data.augment import TrainTransform, padded_size
from paa.data.index import DatasetIndex
from paa.errors import ConfigError

Positions = npt.NDArray[np.int64]
ItemSeed = tuple[int, ...]

_EPOCH, _ITEM = 0, 1  # what a seed is for; NumPy takes (a, b) and (a, b, 0) for the same seed


@dataclass(frozen=True)
class BatchPlan:
    """What one process loads for one step: images, a seed for each, and the (height, width) they are padded to.

    The padded size is that of the global batch: group norm sees the padding, which must not depend on the processes.
    """

    positions: tuple[int, ...]
    seeds: tuple[ItemSeed, ...]
    size: tuple[int, int]


def is_tall(index: DatasetIndex) -> npt.NDArray[np.bool_]:
    """Return the aspect class (I,) of each image: at least as high as wide, or not."""
    return index.sizes[:, 0] >= index.sizes[:, 1]


def global_batches(tall: npt.NDArray[np.bool_], batch_size: int, seed: int) -> Iterator[Positions]:
    """Yield positions (batch_size,) for ever: each epoch holds every image once, each batch one aspect class.

    What an epoch leaves over of a class, less than a batch, opens the class's next batch. Classes are kept apart only
    where each can fill a batch: otherwise the rare one would wait for epochs to fill one with repeats.
    """
    rare = min(int(tall.sum()), int((~tall).sum()))
    classes = tall.astype(np.int64) if rare >= batch_size else np.zeros(len(tall), np.int64)
    epochs = -(-batch_size // len(tall))  # at a time, so that each round yields a batch
    waiting: Positions = np.zeros(0, np.int64)
    for turn in count():
        random = np.random.default_rng((seed, _EPOCH, turn))
        shuffled = [random.permutation(len(tall)) for _ in range(epochs)]
        queue = np.concatenate([waiting, *shuffled])
        ends: list[int] = []
        batches: list[Positions] = []
        left = []
        for label in (0, 1):
            places = np.flatnonzero(classes[queue] == label)
            full = len(places) // batch_size * batch_size
            batches.extend(queue[places[:full]].reshape(-1, batch_size))
            ends.extend(places[batch_size - 1 : full : batch_size].tolist())
            left.append(places[full:])
        waiting = queue[np.sort(np.concatenate(left))]
        for place in np.argsort(ends):
            yield batches[place]


def largest_size(index: DatasetIndex, transform: TrainTransform, batch_size: int) -> tuple[int, int]:
    """Return the padded (height, width) of a batch of the largest images, which no batch exceeds in area."""
    tall = is_tall(index)
    sizes = index.sizes.astype(np.float64)
    ratio = np.minimum(max(transform.min_sizes) / sizes.min(1), transform.max_size / sizes.max(1))
    resized = np.rint(sizes * ratio[:, None]).astype(np.int64)
    apart = min(int(tall.sum()), int((~tall).sum())) >= batch_size  # as in global_batches
    parts = [resized[tall], resized[~tall]] if apart else [resized]
    return max((padded_size([tuple(part.max(0).tolist())]) for part in parts), key=lambda size: size[0] * size[1])


class TrainBatches(Sampler[BatchPlan]):
    """The plans of one process (`rank` of `world`) for steps start_step..steps - 1."""

    def __init__(
        self,
        index: DatasetIndex,
        transform: TrainTransform,
        batch_size: int,
        seed: int,
        steps: int,
        start_step: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if batch_size < 1 or batch_size % world:
            raise ConfigError(f"a batch of {batch_size} images cannot be shared equally by {world} processes")
        if seed < 0:
            raise ConfigError(f"the seed must not be negative, got {seed}")
        self.index = index
        self.transform = transform
        self.batch_size = batch_size
        self.seed = seed
        self.range = range(start_step, steps)
        share = batch_size // world
        self.share = slice(rank * share, (rank + 1) * share)

    def __len__(self) -> int:
        return len(self.range)

    def __iter__(self) -> Iterator[BatchPlan]:
        batches = global_batches(is_tall(self.index), self.batch_size, self.seed)
        for step, batch in zip(self.range, islice(batches, self.range.start, None)):
            seeds = tuple((self.seed, _ITEM, step, place) for place in range(self.batch_size))
            sizes = [self._size(int(position), item_seed) for position, item_seed in zip(batch, seeds)]
            yield BatchPlan(tuple(batch[self.share].tolist()), seeds[self.share], padded_size(sizes))

    def _size(self, position: int, item_seed: ItemSeed) -> tuple[int, int]:
        height, width = self.index.sizes[position].tolist()
        return self.transform.draw(height, width, np.random.default_rng(item_seed)).window[2:]
