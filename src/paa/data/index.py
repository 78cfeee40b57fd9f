"""A data set's annotations as flat arrays, one for each kind of fact.

Loader workers share these arrays (copy on write, or mapped from the file of `cache.py`). A list of Python objects would
be copied into each worker, page by page, as reference counting writes to every object.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Windows:
    """The parts of image files that are the images of an index, each as large as the index says.

    corners (I, 2): int32 (top, left) of each part. file_sizes (I, 2): int32 (height, width) of the whole file.
    """

    corners: npt.NDArray[np.int32]
    file_sizes: npt.NDArray[np.int32]

    def select(self, images: npt.NDArray[np.int64]) -> Windows:
        """Return the parts at these positions, in this order."""
        return Windows(self.corners[images], self.file_sizes[images])


@dataclass(frozen=True)
class DatasetIndex:
    """Every image and box of a data set.

    I images, A boxes, C classes. The boxes of image i are rows offsets[i]:offsets[i + 1].

    root: the folder the file names are relative to. file_names (I,): numpy bytes (UTF-8).
    image_ids (I,): int64, as in the file. sizes (I, 2): int32 (height, width) as shown (after EXIF rotation).
    offsets (I + 1,): int64. boxes (A, 4): float32 continuous xyxy pixels. labels (A,): int64 from 0, contiguous.
    crowd (A,): bool, crowd or difficult: never a training target; ignored in evaluation.
    areas (A,): float32, square pixels (COCO's own `area`, else the box's), which evaluation uses for its size ranges.
    names: class names by label. category_ids (C,): int64, the ids in the file by label.
    windows: the part of its file that each image is; None: every image is a whole file.
    ids_are_places: whether the data set names no ids, so that an image's is its place among the images.
    """

    root: Path
    file_names: npt.NDArray[np.bytes_]
    image_ids: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    crowd: npt.NDArray[np.bool_]
    areas: npt.NDArray[np.float32]
    names: tuple[str, ...]
    category_ids: npt.NDArray[np.int64]
    windows: Windows | None = None
    ids_are_places: bool = False

    def __len__(self) -> int:
        return len(self.image_ids)

    def path(self, i: int) -> Path:
        """Return the file of image `i`."""
        return self.root / bytes(self.file_names[i]).decode("utf-8", "surrogateescape")

    def targets(self, i: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Return the training targets of image `i`: boxes (n, 4) and labels (n,), without crowds."""
        rows = slice(self.offsets[i], self.offsets[i + 1])
        keep = ~self.crowd[rows]
        return self.boxes[rows][keep], self.labels[rows][keep]

    def checksum(self) -> str:
        """Return a text that another data set has only if its images' names and sizes and its boxes are the same.

        The folders of the images are not part of it: a data set may be moved.
        """
        names = b"\0".join(name.rpartition(b"/")[2] for name in self.file_names.tolist())
        arrays: list[npt.NDArray[Any]] = [self.sizes, self.offsets, self.boxes, self.labels, self.crowd]
        if self.windows is not None:
            arrays.append(self.windows.corners)
        return hashlib.sha256(b"".join([names, *(array.tobytes() for array in arrays)])).hexdigest()[:16]

    def with_objects(self) -> DatasetIndex:
        """Return the same data set without the images that have nothing to train on."""
        owner = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        return self.select(np.flatnonzero(np.bincount(owner[~self.crowd], minlength=len(self))))

    def select(self, images: npt.NDArray[np.int64]) -> DatasetIndex:
        """Return the same data set with only these images (positions), in this order."""
        counts = np.diff(self.offsets)[images]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        rows = np.repeat(self.offsets[:-1][images] - offsets[:-1], counts) + np.arange(offsets[-1])
        return DatasetIndex(
            root=self.root,
            file_names=self.file_names[images],
            image_ids=self.image_ids[images],
            sizes=self.sizes[images],
            offsets=offsets,
            boxes=self.boxes[rows],
            labels=self.labels[rows],
            crowd=self.crowd[rows],
            areas=self.areas[rows],
            names=self.names,
            category_ids=self.category_ids,
            windows=None if self.windows is None else self.windows.select(images),
            ids_are_places=self.ids_are_places,
        )
