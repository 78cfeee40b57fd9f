"""The images that a quantiser looks at, to see how large the numbers inside the network become."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from paa.config import LoadingConfig
from paa.data.index import DatasetIndex
from paa.data.loader import eval_loader
from paa.data.transforms import Resize
from paa.export.description import INPUTS, Description


@dataclass(frozen=True)
class Calibration:
    """Images of a data set, as many as are wanted or as it has; its annotations are not looked at.

    split: the name of the split that the index is, for the file's provenance.
    """

    index: DatasetIndex
    images: int = 300
    split: str = "train"
    loading: LoadingConfig = LoadingConfig()

    def __len__(self) -> int:
        return min(self.images, len(self.index))

    def chosen(self) -> DatasetIndex:
        """Return the images, drawn at random, and the same ones each time."""
        order = np.random.default_rng(0).permutation(len(self.index))
        return self.index.select(np.sort(order[: self.images]))

    def feeds(self, description: Description) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """Yield what an exported graph takes for each image; ImageError for one that cannot be read."""
        config, resizes = description.config, description.settings.resize
        resize = Resize(None if resizes else config.min_size, config.max_size, config.legacy)
        for batch in eval_loader(self.chosen(), resize, loading=replace(self.loading, batch_size=1)):
            images, sizes = batch.images, batch.sizes
            if resizes:
                height, width = sizes[0].tolist()
                images = images[:, :, :height, :width]
            values = (np.ascontiguousarray(images.numpy()), sizes.numpy())
            yield dict(zip(INPUTS[:1] if resizes else INPUTS, values))
