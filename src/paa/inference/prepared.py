"""Images resized for detection, and the detections in a batch of them."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from paa.config import InferenceConfig
from paa.data.batch import collate, padded_size
from paa.data.images.rgb import Rgb
from paa.data.transforms import Resize
from paa.detections import Detections
from paa.inference.detect import detect_batch
from paa.model.detector import PADDING, Detector


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image, ready for a batch. resized (3, h, w): uint8 RGB. size: (height, width) of the original."""

    resized: Tensor
    size: tuple[int, int]

    @property
    def padded_size(self) -> tuple[int, int]:
        """The (height, width) that the image has in a batch; images of another one are not put beside it."""
        return padded_size([(self.resized.shape[1], self.resized.shape[2])], PADDING)


def prepare(image: Rgb, resize: Resize) -> Prepared:
    """Return the image resized as `resize_for` says for a detector."""
    resized, _ = resize(torch.from_numpy(image).permute(2, 0, 1), torch.zeros(0, 4))
    return Prepared(resized, (image.shape[0], image.shape[1]))


def detect_prepared(
    detector: Detector,
    images: Sequence[Prepared],
    config: InferenceConfig,
    sources: Sequence[Path | weakref.ref[Any] | None] | None = None,
) -> list[Detections]:
    """Return the detections in images of the same padded size, as one batch. sources: as in `Detections`."""
    batch, sizes = collate([image.resized for image in images], multiple=PADDING)
    originals = torch.tensor([image.size for image in images])
    found = []
    for source, boxes, scores, labels in zip(
        sources or [None] * len(images), *detect_batch(detector, batch, sizes, originals, config)
    ):
        valid = labels >= 0
        columns = (boxes[valid].numpy(), scores[valid].numpy(), labels[valid].numpy())
        found.append(Detections(*columns, detector.names, source))
    return found
