"""From images that a person has (files, PIL images, arrays, tensors) to detections, in batches."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from paa.config import InferenceConfig
from paa.data.images.read import as_rgb
from paa.data.transforms import Resize
from paa.detections import Detections
from paa.errors import ConfigError
from paa.inference.detect import resize_for
from paa.inference.prepared import Prepared, detect_prepared, prepare
from paa.inference.sources import Source
from paa.model.detector import Detector

_MOST_BATCHES = 4
_MOST_PIXELS = 100_000_000  # 300 MB


def predict(
    detector: Detector,
    sources: Iterable[Source],
    config: InferenceConfig = InferenceConfig(),
    *,
    batch_size: int = 1,
) -> Iterator[tuple[npt.NDArray[np.uint8], Detections]]:
    """Yield each source's image, (H, W, 3) uint8 RGB as shown, and the detections in it, in the order given.

    Only images of the same padded size share a batch, so that the detections in an image do not depend on the others.
    An image of a rare size holds up those after it; once four batches or 100 million pixels are held, its batch is run
    before it is full. ImageError if an image cannot be read, ConfigError for a batch size below 1.
    """
    if not isinstance(batch_size, Integral):
        raise ConfigError(f"the batch size must be a whole number, got {batch_size!r}")
    if batch_size < 1:
        raise ConfigError(f"the batch size must be at least 1, got {batch_size}")
    held: deque[_Item] = deque()  # the images not yielded yet, in order
    waiting: dict[tuple[int, int], list[_Item]] = {}  # the held images not detected in yet, by padded size
    resize = resize_for(detector, config)
    for source in sources:
        item = _prepare(source, resize)
        held.append(item)
        same_size = waiting.setdefault(item.prepared.padded_size, [])
        same_size.append(item)
        if len(same_size) == batch_size:
            _detect(detector, waiting.pop(item.prepared.padded_size), config)
        elif len(held) > _MOST_BATCHES * batch_size or sum(item.pixels for item in held) > _MOST_PIXELS:
            _detect(detector, waiting.pop(held[0].prepared.padded_size), config)  # the first held image is waiting too
        while held and (detections := held[0].detections) is not None:
            yield held.popleft().image, detections
    for same_size in waiting.values():
        _detect(detector, same_size, config)
    while held:
        item = held.popleft()
        assert item.detections is not None
        yield item.image, item.detections


@dataclass
class _Item:
    """A source: its file or a reference to it, its image (H, W, 3), the same for a batch, its detections.

    The detections are None until they are known.
    """

    source: Path | weakref.ref[Any]
    image: npt.NDArray[np.uint8]
    prepared: Prepared
    detections: Detections | None = None

    @property
    def pixels(self) -> int:
        return self.image.size // 3


def _prepare(source: Source, resize: Resize) -> _Item:
    """Read a source and resize its image."""
    image = as_rgb(source)
    reference = Path(source) if isinstance(source, (str, Path)) else weakref.ref(source)
    return _Item(reference, image, prepare(image, resize))


def _detect(detector: Detector, items: list[_Item], config: InferenceConfig) -> None:
    """Detect in images of the same padded size, as one batch."""
    found = detect_prepared(detector, [item.prepared for item in items], config, [item.source for item in items])
    for item, detections in zip(items, found):
        item.detections = detections
