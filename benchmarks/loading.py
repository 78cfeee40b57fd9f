"""How much faster than by the seed's pipeline do images get from disk into a batch?

The peer is written here from a description of the seed's pipeline: Pillow and torchvision's transforms v1, resize and
flip of the Pillow image, ToTensor, BGR times 255, minus the mean, padded to a multiple of 32 as floats. It leaves
boxes alone; ours transforms them. Batches of 8 drawn 640 x 480 JPEGs (or those in FOLDER); both sides get the same
images, sizes, windows and mirrorings. One thread, whatever --threads says; seconds are processor time. The pixels
must agree, or the benchmark fails: exactly after decoding, within 1 of 255 after resizing, and where colours are
jittered, which the peer does in three steps, rounding and clipping each, within 4 in 97 values of 100.

- `decode`, `decode, resize`: the image as both sides' next step takes it.
- `batch`: to sides of 800 and at most 1333, mirrored with probability 0.5. Ours ends as uint8.    goal: ratio 1/1.8
- `batch, normalised`: the same, and `Detector.normalise` on the CPU; on a GPU that is not the loader's work.
- `evaluation batch`: the same without mirroring.
- `r18_nano augmentation`: decoded images through scale, window, mirroring and colours; `r18_nano batch`: from disk.
- `n workers`: images a second, by the clock, out of `train_loader`, with the hand-over between processes.

    python benchmarks/loading.py [--repeats 15] [--images FOLDER]
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as v1

from paa.config import CAFFE_MEAN, AugmentConfig, LoadingConfig, WorkerConfig
from paa.data.augment import Geometry, TrainTransform
from paa.data.images.read import read_image, read_size
from paa.data.index import DatasetIndex
from paa.data.loader import eval_loader, train_loader
from paa.data.sampling import Sampling, TrainBatches
from paa.data.transforms import Resize, resize
from paa.model.detector import Detector
from paa.recipes import RECIPES
from timing import compare, parse_arguments

BATCH = 8
IMAGES = 32
HEIGHT, WIDTH = 480, 640
SIZE = (800, 1066)
WORKERS = (0, 1, 2)
ONE_STEP = Sampling(BATCH, steps=1)
IN_PROCESS = WorkerConfig(workers=0)


class Planned(NamedTuple):
    """One image of a batch: where it is, and what is done to it; colours: three factors, or None."""

    path: Path
    geometry: Geometry
    colors: tuple[float, float, float] | None


def draw_images(folder: Path, count: int, seed: int = 0) -> None:
    """Write JPEGs of 60 to 100 KB: clouds of all scales, sharp shapes, a little noise."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        field = np.full((HEIGHT, WIDTH, 3), 128.0)
        for cells in (2, 4, 8, 16, 32, 64, 128):
            coarse = Image.fromarray(rng.integers(0, 256, (cells * 3 // 4 + 1, cells, 3), dtype=np.uint8))
            field += (np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)) - 127.5) * cells**-0.5 / 1.5
        image = Image.fromarray(field.clip(0, 255).astype(np.uint8))
        pen = ImageDraw.Draw(image)
        for shape in range(20):
            x, y, side, ratio = *rng.uniform(0, (WIDTH, HEIGHT)), rng.uniform(15, 150), rng.uniform(0.5, 2)
            color = tuple(rng.integers(20, 236, 3).tolist())
            (pen.ellipse if shape % 2 else pen.rectangle)((x, y, x + side, y + side * ratio), fill=color)
        noisy = np.asarray(image) + rng.normal(0, 4, (HEIGHT, WIDTH, 3))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{i:03d}.jpg", quality=90)


def make_index(folder: Path) -> DatasetIndex:
    """Return a data set of the folder's JPEGs, each with seven boxes."""
    files = sorted(folder.glob("*.jpg"))
    sizes = np.array([read_size(file) for file in files], np.int32)
    shares = np.random.default_rng(0).uniform(0, 1, (7 * len(files), 2, 2)).astype(np.float32)
    corners = np.sort(shares, axis=1) * sizes.repeat(7, axis=0)[:, None, ::-1]
    boxes = corners.reshape(-1, 4).astype(np.float32)
    return DatasetIndex(
        root=folder,
        file_names=np.array([file.name.encode() for file in files], np.bytes_),
        image_ids=np.arange(len(files)),
        sizes=sizes,
        offsets=np.arange(len(files) + 1) * 7,
        boxes=boxes,
        labels=np.arange(len(boxes)) % 7,
        crowd=np.zeros(len(boxes), np.bool_),
        areas=(boxes[:, 2:] - boxes[:, :2]).prod(axis=1),
        names=tuple("abcdefg"),
        category_ids=np.arange(7),
    )


def plan(index: DatasetIndex, transform: TrainTransform) -> list[Planned]:
    """Return the first training batch's images, as `train_loader` draws them from seed 0."""
    batch = next(iter(TrainBatches(index, transform, ONE_STEP)))
    planned = []
    for position, seed in zip(batch.positions, batch.seeds):
        random = np.random.default_rng(seed)
        geometry = transform.draw(*index.sizes[position].tolist(), random)
        jitter = transform.config.color_jitter
        colors = tuple(random.uniform(1 - jitter, 1 + jitter, 3).tolist()) if jitter else None
        planned.append(Planned(index.path(position), geometry, colors))
    return planned


def peer_decode(path: Path) -> Image.Image:
    """Return the image, loaded."""
    with Image.open(path) as image:
        return image.convert("RGB")


def peer_resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the image at (height, width) `size`."""
    return v1.resize(image, list(size), InterpolationMode.BILINEAR)


def peer_augment(image: Image.Image, planned: Planned) -> Image.Image:
    """Return the image as it is trained on, with Pillow's operations."""
    image = peer_resize(image, planned.geometry.size)
    if planned.geometry.window != (0, 0, *planned.geometry.size):
        image = v1.crop(image, *planned.geometry.window)
    if planned.geometry.mirrored:
        image = v1.hflip(image)
    if planned.colors is not None:
        brightness, contrast, saturation = planned.colors
        image = v1.adjust_brightness(image, brightness)
        image = v1.adjust_contrast(image, contrast)
        image = v1.adjust_saturation(image, saturation)
    return image


def peer_input(image: Image.Image) -> Tensor:
    """Return the normalised float image (3, h, w), BGR."""
    tensor = v1.to_tensor(image)
    return v1.normalize(tensor[[2, 1, 0]] * 255, CAFFE_MEAN[::-1], [1.0, 1.0, 1.0])


def peer_collate(images: list[Tensor]) -> Tensor:
    """Return images (3, h, w) at the top left of zeros (B, 3, H, W), H and W multiples of 32."""
    height, width = (-(-max(image.shape[d] for image in images) // 32) * 32 for d in (1, 2))
    padded = images[0].new_zeros((len(images), 3, height, width))
    for canvas, image in zip(padded, images):
        canvas[:, : image.shape[1], : image.shape[2]].copy_(image)
    return padded


def peer_batch(batch: list[Planned]) -> Tensor:
    """Return the normalised batch, from disk."""
    return peer_collate([peer_input(peer_augment(peer_decode(planned.path), planned)) for planned in batch])


def as_tensor(path: Path) -> Tensor:
    """Return our image (3, h, w) as the loader's next step takes it."""
    return torch.from_numpy(read_image(path)).permute(2, 0, 1)


def check(ours: Tensor, peer: Tensor, tolerance: float, share: float = 0.0) -> None:
    """Raise unless all values, or all but `share` of them, agree to `tolerance`."""
    if ours.shape != peer.shape:
        raise AssertionError(f"shapes {tuple(ours.shape)} and {tuple(peer.shape)}")
    beyond = (
        ours.float() - peer.float()
    ).abs() > tolerance + 1e-3  # the peer divides by 255 and multiplies by it again
    if beyond.float().mean() > share:
        raise AssertionError(f"{int(beyond.sum())} of {beyond.numel()} values differ by more than {tolerance}")


def hand_over(index: DatasetIndex, transform: TrainTransform, workers: int, repeats: int) -> None:
    """Print how many images a second the loader gives to a loop that does nothing with them."""
    steps = 4 * repeats
    loader = iter(train_loader(index, transform, Sampling(BATCH, steps + 4), workers=WorkerConfig(workers)))
    for _ in range(4):  # the workers start
        next(loader)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(4):
            next(loader)
        times.append((time.perf_counter() - start) / (4 * BATCH))
    lower, median, upper = (1 / seconds for seconds in statistics.quantiles(times, n=4))
    line = {"benchmark": "loading", "case": f"{workers} workers", "ours_per_s": round(median, 1)}
    print(json.dumps(line | {"spread": [round(upper, 1), round(lower, 1)]}), flush=True)


def measure(folder: Path, repeats: int, timed: Callable[..., None]) -> None:
    """Check and time every case; timed: `compare` without what is common to all of them."""
    index = make_index(folder)
    transform = TrainTransform(AugmentConfig(min_sizes=(800,), max_size=1333, hflip=0.5), legacy=True)
    batch = plan(index, transform)
    paths = [planned.path for planned in batch]
    detector = Detector(RECIPES["r50_1x"].model, index.names)
    loaders = {
        "train": train_loader(index, transform, ONE_STEP, workers=IN_PROCESS),
        "eval": eval_loader(index, Resize(800, 1333, legacy=True), loading=LoadingConfig(0, batch_size=BATCH)),
    }

    def decode() -> list[Tensor]:
        return [as_tensor(path) for path in paths]

    def peer_decoded() -> list[Image.Image]:
        return [peer_decode(path) for path in paths]

    no_boxes = torch.zeros(0, 4)

    def resized() -> list[Tensor]:
        return [resize(as_tensor(path), no_boxes, SIZE, False)[0] for path in paths]

    def peer_resized() -> list[Image.Image]:
        return [peer_resize(peer_decode(path), SIZE) for path in paths]

    for name, ours, peer, tolerance in (
        ("decode", decode, peer_decoded, 0),
        ("decode, resize", resized, peer_resized, 1),
    ):
        for image, theirs in zip(ours(), peer()):
            check(image, v1.pil_to_tensor(theirs), tolerance)
        timed(name, ours, peer)

    def normalised(name: str) -> Tensor:
        loaded = next(iter(loaders[name]))
        return detector.normalise(loaded.images, loaded.sizes)

    check(normalised("train"), peer_batch(batch), 1)
    timed("batch", lambda: next(iter(loaders["train"])), lambda: peer_batch(batch))
    timed("batch, normalised", lambda: normalised("train"), lambda: peer_batch(batch))

    first = next(iter(loaders["eval"]))
    whole = [Geometry(tuple(size), (0, 0, *size), False) for size in first.sizes.tolist()]
    eval_batch = [Planned(index.path(i), geometry, None) for i, geometry in zip(first.positions.tolist(), whole)]
    check(normalised("eval"), peer_batch(eval_batch), 1)
    timed("evaluation batch", lambda: next(iter(loaders["eval"])), lambda: peer_batch(eval_batch))

    nano = TrainTransform(RECIPES["r18_nano"].augment)
    nano_batch = plan(index, nano)
    images = [peer_decode(planned.path) for planned in nano_batch]
    decoded = [as_tensor(planned.path) for planned in nano_batch]
    seeds = next(iter(TrainBatches(index, nano, ONE_STEP))).seeds
    boxes, labels = torch.from_numpy(index.boxes[:7]), torch.from_numpy(index.labels[:7])

    def augmented() -> list[Tensor]:
        changed = []
        for image, seed in zip(decoded, seeds):
            random = np.random.default_rng(seed)
            geometry = nano.draw(image.shape[1], image.shape[2], random)
            changed.append(nano.apply(image, boxes, labels, geometry, random)[0])
        return changed

    def peer_augmented() -> list[Image.Image]:
        return [peer_augment(image, planned) for image, planned in zip(images, nano_batch)]

    for image, theirs in zip(augmented(), peer_augmented()):
        check(image, v1.pil_to_tensor(theirs), 4, 0.03)
    timed("r18_nano augmentation", augmented, peer_augmented)
    nano_loader = train_loader(index, nano, ONE_STEP, workers=IN_PROCESS)
    timed("r18_nano batch", lambda: next(iter(nano_loader)), lambda: peer_batch(nano_batch))
    for workers in WORKERS:
        hand_over(index, transform, workers, repeats)


def main() -> None:
    """Draw the images, or take those given, and measure."""
    arguments = parse_arguments(__doc__, images="")
    torch.set_num_threads(1)

    def timed(case: str, ours: Callable[[], object], peer: Callable[[], object]) -> None:
        compare("loading", case, ours, "Pillow, transforms v1", peer, arguments, items=BATCH, clock=time.process_time)

    if arguments.images:
        measure(Path(arguments.images), arguments.repeats, timed)
    else:
        with tempfile.TemporaryDirectory() as folder:
            draw_images(Path(folder), IMAGES)
            measure(Path(folder), arguments.repeats, timed)


if __name__ == "__main__":
    main()
