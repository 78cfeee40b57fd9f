"""From what a person has (files, images, arrays, tensors) to detections."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from paa.config import InferenceConfig
from paa.data.batch import collate, padded_size
from paa.data.files.folders import files_in
from paa.data.images.decoders import decodable_suffixes, undecodable_suffixes
from paa.data.images.read import as_rgb
from paa.data.transforms import resize, resized_size
from paa.detections import Detections
from paa.errors import ConfigError, DataError
from paa.inference.detect import check_inference, detect_batch
from paa.model.detector import PADDING, Detector
from paa.runtime.urls import nothing_at

_PATIENCE = 4  # batches that the first image may wait for others of its size

Source = str | Path | Image.Image | npt.NDArray[Any] | Tensor


def predict(
    detector: Detector,
    sources: Iterable[Source],
    *,
    inference: InferenceConfig = InferenceConfig(),
    batch_size: int = 1,
    precision: str = "float32",
) -> Iterator[tuple[npt.NDArray[np.uint8], Detections]]:
    """Yield each source's image, (H, W, 3) uint8 RGB as shown, and what is detected in it, in the order given.

    A source is a path, a PIL image, an array (H, W), (H, W, 3 or 4) or a tensor (3, H, W), of uint8 or of floats in
    0..1; arrays and tensors are RGB (OpenCV's are BGR: `array[:, :, ::-1]`). Images are batched with others of their
    padded size only, so that a batch gives each what it would give alone; one of a rare size waits, and with it those
    behind it, for a few batches at most. ImageError if an image cannot be read, ConfigError for an invalid setting.
    """
    if batch_size < 1:
        raise ConfigError(f"the batch size must be at least 1, got {batch_size}")
    check_inference(inference)
    waiting: dict[tuple[int, int], list[_Item]] = {}
    done: dict[int, tuple[npt.NDArray[np.uint8], Detections]] = {}
    next_place = 0

    def run(size: tuple[int, int]) -> None:
        for item, detections in zip(items := waiting.pop(size), _detect(detector, items, inference, precision)):
            done[item.place] = item.image, detections

    for place, source in enumerate(sources):
        item = _prepare(detector, place, source, resized=inference.views is None)
        size = padded_size([(item.resized.shape[1], item.resized.shape[2])], PADDING)
        waiting.setdefault(size, []).append(item)
        if len(waiting[size]) == batch_size:
            run(size)
        elif place - next_place >= _PATIENCE * batch_size:
            run(next(size for size, items in waiting.items() if items[0].place == next_place))
        while next_place in done:
            yield done.pop(next_place)
            next_place += 1
    for size in list(waiting):
        run(size)
    yield from (done[place] for place in sorted(done))


class _Item(NamedTuple):
    """A source on its way: its place among the sources, its image (H, W, 3), and that as it goes into a batch."""

    place: int
    image: npt.NDArray[np.uint8]
    resized: Tensor


def _prepare(detector: Detector, place: int, source: Source, *, resized: bool) -> _Item:
    image = as_rgb(source)
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    if resized:
        tensor = _resized(tensor, detector.config.min_size, detector.config.max_size)
    return _Item(place, image, tensor)


def _detect(
    detector: Detector, items: Sequence[_Item], inference: InferenceConfig, precision: str
) -> Iterator[Detections]:
    images, sizes = collate([item.resized for item in items], multiple=PADDING)
    originals = torch.tensor([item.image.shape[:2] for item in items])
    device = detector.mean.device
    found = detect_batch(detector, images.to(device), sizes.to(device), originals, inference, precision)
    for boxes, scores, labels in zip(*found):
        valid = labels >= 0
        yield Detections(boxes[valid].numpy(), scores[valid].numpy(), labels[valid].numpy(), detector.names)


def _resized(image: Tensor, min_size: int, max_size: int) -> Tensor:
    size = resized_size(image.shape[1], image.shape[2], min_size, max_size)
    return resize(image, torch.zeros(0, 4), size, legacy=False)[0]


def find_images(paths: Sequence[Path], output: Path | None = None) -> list[Path]:
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
                raise DataError(f"{path}: no images in this folder ({', '.join(sorted(decodable_suffixes()))})")
            found.extend(inside)
        elif path.is_file():
            found.append(path)
        else:
            raise DataError(nothing_at(path, "file or folder"))
    return found


def _earlier_drawings(output: Path) -> set[Path]:
    """Return the drawings that the detections.json of a folder names, none if there is no such file."""
    try:
        records = json.loads((output / "detections.json").read_text(encoding="utf-8"))
        return {(output / record["drawn"]).resolve() for record in records}
    except (OSError, ValueError, TypeError, KeyError):
        return set()
