"""Which images share a batch, in training and in evaluation, and which batches a process gets.

The global batches of training are a function of the data set, the batch size and the seed: they do not depend on the
number of processes or workers, or on the step from which a run is resumed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice, pairwise

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from paa.data.augment import TrainTransform
from paa.data.batch import padded_size
from paa.data.index import DatasetIndex
from paa.data.transforms import Resize, resized_size
from paa.errors import ConfigError

Positions = npt.NDArray[np.int64]
Factors = npt.NDArray[np.float64]
ItemSeed = tuple[int, ...]

_EPOCH, _ITEM, _MOSAIC = 0, 1, 2  # what a seed is used for; NumPy takes (a, b) and (a, b, 0) for the same seed
_WITH_MOSAIC = 0.8  # of a run; its end sees images as they are in detection


@dataclass(frozen=True)
class BatchPlan:
    """One batch of one process: positions of images, a seed for each in training, the (height, width) to pad to.

    mosaics: for each image in training, the positions of three others whose parts it is put together with, or none. In
    training the padded size is the global batch's: group norm sees the padding, which must not depend on the number of
    processes, or of parts of a step.
    """

    positions: tuple[int, ...]
    seeds: tuple[ItemSeed, ...]
    size: tuple[int, int]
    mosaics: tuple[tuple[int, ...], ...] = ()


def is_tall(index: DatasetIndex) -> npt.NDArray[np.bool_]:
    """Return for each image (I,) whether it is at least as high as wide: its aspect class."""
    return index.sizes[:, 0] >= index.sizes[:, 1]


def repeat_factors(index: DatasetIndex, threshold: float) -> Factors:
    """Return how often an epoch holds each image (I,), at least 1: repeat-factor sampling (Gupta et al. 2019).

    A class in a share f of the images has the factor sqrt(threshold / f), an image the largest factor of its classes.
    Crowds do not count.
    """
    images = np.repeat(np.arange(len(index)), np.diff(index.offsets))[~index.crowd]
    once = np.unique(images * len(index.names) + index.labels[~index.crowd])  # each class of an image
    images, labels = np.divmod(once, len(index.names))
    shares = np.bincount(labels, minlength=len(index.names)) / len(index)
    factors = np.ones(len(index))
    np.maximum.at(factors, images, np.sqrt(threshold / shares[labels]))
    return factors


def global_batches(
    tall: npt.NDArray[np.bool_], batch_size: int, seed: int, factors: Factors | None = None
) -> Iterator[Positions]:
    """Yield positions (batch_size,) without end: each epoch holds every image once, each batch one aspect class.

    factors (I,): how often an epoch holds each image instead, in the mean; the fractions are drawn for each epoch.
    The images of a class that an epoch leaves over, fewer than a batch, begin the next batch of that class. Classes are
    kept apart only where each can fill a batch: otherwise a batch of the rarer class would take several epochs to fill.
    """
    classes = tall.astype(np.int64) if _kept_apart(tall, batch_size) else np.zeros(len(tall), np.int64)
    epochs = -(-batch_size // len(tall))  # epochs shuffled at a time, so that each turn yields a batch
    waiting: Positions = np.zeros(0, np.int64)
    for turn in count():
        random = np.random.default_rng((seed, _EPOCH, turn))
        shuffled = [random.permutation(_epoch(len(tall), factors, random)) for _ in range(epochs)]
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


def _epoch(images: int, factors: Factors | None, random: np.random.Generator) -> int | Positions:
    """Return what `permutation` takes for an epoch: the number of images, or the positions where some are repeated."""
    if factors is None:
        return images
    return np.repeat(np.arange(images), (factors + random.random(images)).astype(np.int64))


def _kept_apart(tall: npt.NDArray[np.bool_], batch_size: int) -> bool:
    """Return whether each aspect class has enough images to fill a batch."""
    return min(int(tall.sum()), int((~tall).sum())) >= batch_size


def largest_size(index: DatasetIndex, transform: TrainTransform, batch_size: int) -> tuple[int, int]:
    """Return the padded (height, width) of a batch of the largest images, which no batch exceeds in area."""
    tall = is_tall(index)
    config = transform.config
    # a data set has few sizes
    sizes, of_image = np.unique(index.sizes, axis=0, return_inverse=True)
    resized = np.array([resized_size(h, w, max(config.min_sizes), config.max_size) for h, w in sizes.tolist()])
    resized = resized[of_image.reshape(-1)]
    parts = [resized[tall], resized[~tall]] if _kept_apart(tall, batch_size) else [resized]
    return max((padded_size([tuple(part.max(0).tolist())]) for part in parts), key=lambda size: size[0] * size[1])


@dataclass(frozen=True)
class Sampling:
    """Which training batches to load: those of the steps from `start_step` to the one before `steps`.

    batch_size: images a step, over all processes. seed: for shuffling and augmentation. parts: the number of batches in
    which each process gets its share of a step, one after the other, for gradients that are accumulated.
    """

    batch_size: int
    steps: int
    start_step: int = 0
    seed: int = 0
    parts: int = 1


class TrainBatches(Sampler[BatchPlan]):
    """The plans of one process, `rank` of `world`, for each part of each step of training.

    Where the batch does not divide, some shares have one image more than others. That changes nothing: losses are sums
    over a share, divided by numbers of the whole batch.
    """

    def __init__(
        self, index: DatasetIndex, transform: TrainTransform, sampling: Sampling, rank: int = 0, world: int = 1
    ) -> None:
        """Raise ConfigError for a batch with fewer images than there are shares, or a negative seed."""
        size, parts = sampling.batch_size, sampling.parts
        if parts < 1 or size < world * parts:
            raise ConfigError(
                f"a batch of {size} images cannot be shared by {world} processes"
                + (f" in {parts} parts" if parts != 1 else "")
            )
        if sampling.seed < 0:
            raise ConfigError(f"the seed must not be negative, got {sampling.seed}")
        self.index = index
        self.transform = transform
        self.sampling = sampling
        threshold = transform.config.repeat_threshold
        self.factors = repeat_factors(index, threshold) if threshold else None
        self.range = range(sampling.start_step, sampling.steps)
        bounds = [share * size // (world * parts) for share in range(rank * parts, (rank + 1) * parts + 1)]
        self.shares = [slice(*pair) for pair in pairwise(bounds)]

    def __len__(self) -> int:
        return len(self.range) * len(self.shares)

    def __iter__(self) -> Iterator[BatchPlan]:
        batch_size, seed = self.sampling.batch_size, self.sampling.seed
        batches = global_batches(is_tall(self.index), batch_size, seed, self.factors)
        for step, batch in zip(self.range, islice(batches, self.range.start, None)):
            seeds = tuple((seed, _ITEM, step, place) for place in range(batch_size))
            sizes = [self._size(int(position), item_seed) for position, item_seed in zip(batch, seeds)]
            mosaics = self._mosaics(step)
            for share in self.shares:
                yield BatchPlan(tuple(batch[share].tolist()), seeds[share], padded_size(sizes), mosaics[share])

    def _mosaics(self, step: int) -> tuple[tuple[int, ...], ...]:
        """Return for each image of a step the positions of three others to make a mosaic with, or none."""
        sampling, probability = self.sampling, self.transform.config.mosaic
        if probability == 0 or step >= _WITH_MOSAIC * sampling.steps:
            return ((),) * sampling.batch_size
        random = np.random.default_rng((sampling.seed, _MOSAIC, step))
        others = random.integers(len(self.index), size=(sampling.batch_size, 3)).tolist()
        chosen = random.random(sampling.batch_size) < probability
        return tuple(tuple(three) if each else () for three, each in zip(others, chosen))

    def _size(self, position: int, item_seed: ItemSeed) -> tuple[int, int]:
        """Return the (height, width) that an image will have after augmentation with this seed."""
        height, width = self.index.sizes[position].tolist()
        return self.transform.draw(height, width, np.random.default_rng(item_seed)).window[2:]


def eval_batches(index: DatasetIndex, resize: Resize, batch_size: int) -> list[BatchPlan]:
    """Return plans of at most batch_size images, each image in one of them, for all processes together.

    An image shares a batch only with others of its own padded size: group norm sees the padding, so that another size
    would change the detections of the image.
    """
    by_size: dict[tuple[int, int], list[int]] = {}
    for i, (height, width) in enumerate(index.sizes.tolist()):
        by_size.setdefault(padded_size([resize.size_of(height, width)]), []).append(i)
    return [
        BatchPlan(tuple(images[start : start + batch_size]), (), size)
        for size, images in sorted(by_size.items())
        for start in range(0, len(images), batch_size)
    ]
