"""From what a person has (files, pictures, arrays, tensors) to detections."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from paa.config import MultiScaleConfig
from paa.data.folders import files_in
from paa.data.images import as_rgb, decodable_suffixes, undecodable_suffixes
from paa.data.loader import collate
from paa.data.transforms import resize, resized_size
from paa.detections import Detections
from paa.engine.evaluate import to_original
from paa.engine.multi_scale import check_views, detect_multi_scale
from paa.errors import ConfigError, DataError
from paa.model.detector import PADDING, Detector
from paa.urls import url_of

Source = str | Path | Image.Image | npt.NDArray[Any] | Tensor


def predict(
    detector: Detector,
    sources: Sequence[Source],
    *,
    limit: int = 100,
    voting: bool = True,
    multi_scale: MultiScaleConfig | None = None,
    batch_size: int = 1,
    precision: str = "float32",
) -> Iterator[tuple[npt.NDArray[np.uint8], Detections]]:
    """Yield each source's picture, (H, W, 3) uint8 RGB as shown, and what is detected in it.

    A source is a path, a PIL picture, an array (H, W), (H, W, 3 or 4) or a tensor (3, H, W), of uint8 or of floats in
    0..1; arrays and tensors are RGB (OpenCV's are BGR: `array[:, :, ::-1]`). multi_scale: the views of each picture, if
    there is to be more than one. ImageError if a picture cannot be read, ConfigError for a number that cannot be.
    """
    for name, value in (("batch size", batch_size), ("limit", limit)):
        if value < 1:
            raise ConfigError(f"the {name} must be at least 1, got {value}")
    if multi_scale is not None:
        check_views(multi_scale)
    device, config = detector.mean.device, detector.config
    for start in range(0, len(sources), batch_size):
        pictures = [as_rgb(source) for source in sources[start : start + batch_size]]
        tensors = [torch.from_numpy(picture).permute(2, 0, 1) for picture in pictures]
        if multi_scale is None:
            tensors = [_resized(tensor, config.test_short, config.test_longest) for tensor in tensors]
        images, sizes = collate(tensors, multiple=PADDING)
        on_device = images.to(device), sizes.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            if multi_scale is None:
                found = detector.detect(*on_device, voting=voting, limit=limit)
            else:
                found = detect_multi_scale(detector, *on_device, multi_scale, voting=voting, limit=limit)
        originals = torch.tensor([picture.shape[:2] for picture in pictures])
        boxes = to_original(found.boxes.cpu(), sizes, originals, config.legacy)
        for picture, box, score, label in zip(pictures, boxes, found.scores.cpu(), found.labels.cpu()):
            there = label >= 0
            yield picture, Detections(box[there].numpy(), score[there].numpy(), label[there].numpy(), detector.names)


def _resized(picture: Tensor, short: int, longest: int) -> Tensor:
    size = resized_size(picture.shape[1], picture.shape[2], short, longest)
    return resize(picture, torch.zeros(0, 4), size, legacy=False)[0]


def find_pictures(paths: Sequence[Path], output: Path | None = None) -> list[Path]:
    """Return the image files among paths and, sorted, in folders and the folders inside; hidden ones are left out.

    Of folders, files with an image's suffix are taken, also such as cannot be decoded here. output: the folder that
    results go to, of which the drawings of an earlier run are no images to detect in. DataError for a path that is
    none, and a folder without images.
    """
    found: list[Path] = []
    suffixes = decodable_suffixes() | undecodable_suffixes()
    drawn = set() if output is None else _earlier_drawings(output)
    for path in paths:
        if path.is_dir():
            inside = [p for p in files_in(path, recursive=True) if p.suffix.lower() in suffixes]
            if drawn:
                inside = [p for p in inside if p.resolve() not in drawn]
            if not inside:
                raise DataError(f"{path}: no pictures in this folder ({', '.join(sorted(decodable_suffixes()))})")
            found.extend(inside)
        elif path.is_file():
            found.append(path)
        elif (url := url_of(path)) is not None:
            raise DataError(f"{url}: a URL, not a path: download it first")
        else:
            raise DataError(f"{path}: no such file or folder")
    return found


def _earlier_drawings(output: Path) -> set[Path]:
    """Return the drawings that the detections.json of a folder names, none if there is no such file."""
    try:
        records = json.loads((output / "detections.json").read_text(encoding="utf-8"))
        return {(output / record["drawn"]).resolve() for record in records}
    except (OSError, ValueError, TypeError, KeyError):
        return set()
