"""From what a person has (files, pictures, arrays, tensors) to detections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from paa.data.images import SUFFIXES, as_rgb
from paa.data.loader import collate
from paa.data.transforms import resize, resized_size
from paa.detections import Detections
from paa.engine.evaluate import to_original
from paa.errors import ConfigError, DataError
from paa.model.detector import PADDING, Detector

Source = str | Path | Image.Image | npt.NDArray[Any] | Tensor


def predict(
    detector: Detector,
    sources: Sequence[Source],
    *,
    limit: int = 100,
    voting: bool = True,
    batch_size: int = 1,
) -> Iterator[tuple[npt.NDArray[np.uint8], Detections]]:
    """Yield each source's picture, (H, W, 3) uint8 RGB as shown, and what is detected in it.

    A source is a path, a PIL picture, an array (H, W), (H, W, 3 or 4) or a tensor (3, H, W), of uint8 or of floats in
    0..1. ImageError if one cannot be read, ConfigError for a number that cannot be.
    """
    for name, value in (("batch size", batch_size), ("limit", limit)):
        if value < 1:
            raise ConfigError(f"the {name} must be at least 1, got {value}")
    device, config = detector.mean.device, detector.config
    empty = torch.zeros(0, 4)
    for start in range(0, len(sources), batch_size):
        pictures = [as_rgb(source) for source in sources[start : start + batch_size]]
        resized = []
        for picture in pictures:
            height, width = picture.shape[:2]
            size = resized_size(height, width, config.test_short, config.test_longest)
            resized.append(resize(torch.from_numpy(picture).permute(2, 0, 1), empty, size, config.legacy)[0])
        images, sizes = collate(resized, multiple=PADDING)
        found = detector.detect(images.to(device), sizes.to(device), voting=voting, limit=limit)
        originals = torch.tensor([picture.shape[:2] for picture in pictures])
        boxes = to_original(found.boxes.cpu(), sizes, originals, config.legacy)
        for picture, box, score, label in zip(pictures, boxes, found.scores.cpu(), found.labels.cpu()):
            there = label >= 0
            yield picture, Detections(box[there].numpy(), score[there].numpy(), label[there].numpy(), detector.names)


def find_pictures(paths: Sequence[Path]) -> list[Path]:
    """Return the picture files among paths and, sorted, in folders; DataError for a path that is none."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            if not inside:
                raise DataError(f"{path}: no pictures in this folder ({', '.join(sorted(SUFFIXES))})")
            found.extend(inside)
        elif path.is_file():
            found.append(path)
        else:
            raise DataError(f"{path}: no such file or folder")
    return found
