"""What a loader's worker does: read the images of a planned batch, transform them, and lay them out in one batch."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from paa.data.augment import Geometry, TrainTransform
from paa.data.batch import Batch, Sample, make_batch
from paa.data.images.read import read_image
from paa.data.images.remarks import collected_remarks
from paa.data.index import DatasetIndex
from paa.data.mosaic import make_mosaic
from paa.data.read_report import REMEDY
from paa.data.sampling import BatchPlan, ItemSeed, is_tall
from paa.data.transforms import Resize
from paa.data.workers import note_reading, share
from paa.errors import ImageError, PaaError, RunError, one_line

_ATTEMPTS = 100  # other images that are tried in place of one that cannot be read


@dataclass
class Loaded:
    """What a worker hands over for one plan: a batch, None if all its images were left out, or an error.

    left_out: the position of each image that was left out, and why. remarks: warnings about images that were read.
    """

    batch: Batch | PaaError | None
    left_out: list[tuple[int, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def pin_memory(self) -> Loaded:
        """Return the item with its batch in page-locked memory (the DataLoader calls this when it pins)."""
        return replace(self, batch=self.batch.pin_memory()) if isinstance(self.batch, Batch) else self


@dataclass(frozen=True)
class PlannedDataset(Dataset[Loaded], ABC):
    """A data set whose items are whole batches, each made from its plan.

    skip_bad: leave out images that cannot be read; otherwise the first of them is the item's error.
    """

    index: DatasetIndex
    skip_bad: bool

    consequence: ClassVar[str]
    """What happens to an image that cannot be read, in the words of a warning."""

    @abstractmethod
    def load(self, plan: BatchPlan) -> Loaded:
        """Load the batch of a plan."""

    def __getitem__(self, plan: BatchPlan) -> Loaded:
        """Load the batch of a plan, in a worker into shared memory; a lack of memory becomes the item's error."""
        try:
            with collected_remarks() as remarks:
                loaded = self.load(plan)
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
        finally:
            note_reading(None)
        return loaded

    def read(self, position: int) -> Sample:
        """Read the image at a position and its objects; ImageError also for a size other than the annotated one."""
        index = self.index
        note_reading(position)
        whole = index.sizes if index.windows is None else index.windows.file_sizes
        file_height, file_width = whole[position].tolist()
        image = torch.from_numpy(read_image(index.path(position), (file_height, file_width))).permute(2, 0, 1)
        if index.windows is not None:
            (height, width), (top, left) = index.sizes[position].tolist(), index.windows.corners[position].tolist()
            image = image[:, top : top + height, left : left + width]
        boxes, labels = index.targets(position)
        return image, torch.from_numpy(boxes), torch.from_numpy(labels)


@dataclass(frozen=True)
class EvalDataset(PlannedDataset):
    """Batches for evaluation: images are only resized; an image that cannot be read is left out of its batch."""

    resize: Resize
    consequence = "it is left out"

    def load(self, plan: BatchPlan) -> Loaded:
        """Return the plan's images that can be read, or None if there are none."""
        samples, positions, left_out = [], [], []
        for position in plan.positions:
            try:
                image, boxes, labels = self.read(position)
            except ImageError as error:
                if not self.skip_bad:
                    return Loaded(ImageError(f"{error}; {REMEDY}"))
                left_out.append((position, str(error)))
                continue
            samples.append((*self.resize(image, boxes), labels))
            positions.append(position)
        return Loaded(make_batch(self.index, positions, samples, plan.size) if samples else None, left_out)


@dataclass(frozen=True)
class TrainDataset(PlannedDataset):
    """Batches for training: images are augmented; an image that cannot be read is replaced by another."""

    transform: TrainTransform
    consequence = "another image is used instead"

    def load(self, plan: BatchPlan) -> Loaded:
        """Return the plan's images, each changed as its seed says; ImageError where no other image can be read."""
        samples, positions = [], []
        left_out: list[tuple[int, str]] = []
        mosaics = plan.mosaics or ((),) * len(plan.positions)
        for position, seed, others in zip(plan.positions, plan.seeds, mosaics):
            try:
                samples.append(self._mosaic(position, others, seed, left_out) or self._augmented(position, seed))
            except ImageError as error:
                if not self.skip_bad:
                    return Loaded(ImageError(f"{error}; {REMEDY}"))
                left_out.append((position, str(error)))
                replaced = self._replacement(position, seed, plan.size)
                if replaced is None:
                    return Loaded(ImageError(f"{error}; nor can any of {_ATTEMPTS} others be read"), left_out)
                position, sample = replaced
                samples.append(sample)
            positions.append(position)
        return Loaded(make_batch(self.index, positions, samples, plan.size), left_out)

    def _augmented(self, position: int, seed: ItemSeed, within: tuple[int, int] | None = None) -> Sample:
        """Read and augment an image; within: a (height, width) that the result must not exceed."""
        image, boxes, labels = self.read(position)
        random = np.random.default_rng(seed)
        geometry = self.transform.draw(image.shape[1], image.shape[2], random)
        if within is not None:
            geometry = _shrink(geometry, within)
        return self.transform.apply(image, boxes, labels, geometry, random)

    def _mosaic(
        self, position: int, others: tuple[int, ...], seed: ItemSeed, left_out: list[tuple[int, str]]
    ) -> Sample | None:
        """Return a mosaic of the image and others; None without others, or where one of them cannot be read.

        Which one, and why, is added to `left_out`.
        """
        parts = []
        for other in others:
            try:
                parts.append(self.read(other))
            except ImageError as error:
                if not self.skip_bad:
                    raise
                left_out.append((other, str(error)))
                return None
        return (
            make_mosaic([self.read(position), *parts], self.transform, np.random.default_rng(seed)) if parts else None
        )

    def _replacement(self, position: int, seed: ItemSeed, within: tuple[int, int]) -> tuple[int, Sample] | None:
        """Return the position and sample of another image of the same aspect class, drawn from the seed, or None."""
        tall = is_tall(self.index)
        random = np.random.default_rng((*seed, 1))
        for other in random.permutation(np.flatnonzero(tall == tall[position]))[:_ATTEMPTS].tolist():
            try:
                return other, self._augmented(other, seed, within)
            except ImageError:
                continue
        return None


def _shrink(geometry: Geometry, within: tuple[int, int]) -> Geometry:
    """Return the geometry without its crop, the whole image no larger than `within`."""
    height, width = geometry.size
    ratio = min(1, within[0] / height, within[1] / width)
    size = (max(1, int(height * ratio)), max(1, int(width * ratio)))
    return Geometry(size, (0, 0, *size), geometry.mirrored)
