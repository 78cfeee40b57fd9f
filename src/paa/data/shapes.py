"""A synthetic data set for demonstrations and tests: flat shapes on cluttered backgrounds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from paa.data.formats.coco.write import write_coco
from paa.data.index import DatasetIndex
from paa.errors import ConfigError

NAMES = ("circle", "square", "triangle", "star")

_SCALE = 2  # drawn at this multiple of the size, then averaged down
_SMALLEST, _LARGEST = 32, 120  # pixels, the diameter of the circle around a shape
_CONTRAST = 90  # least distance of a shape's colour from the background's, of 441
_MOST_OBJECTS = 6
_TURN = math.radians(20)  # in either direction

Mask = npt.NDArray[np.bool_]
Point = tuple[float, float]
Drawn = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.int64]]
"""An image (H, W, 3), its boxes (n, 4) continuous xyxy, and labels (n,)."""


def make_shapes(folder: Path, images: int, seed: int = 0, size: tuple[int, int] = (160, 192)) -> Path:
    """Write `images` images and their annotations as COCO JSON; return the folder.

    `folder/images/*.jpg`, folder/train.json, folder/val.json: every fifth image (at least one) is for validation.
    size: the short side, and the largest long side, in pixels; half of the images are upright. An image has 1 to 6
    objects of four classes, in any colour, turned by up to 20 degrees, 32 to 120 pixels across, wholly inside the image
    and at least half visible; boxes are tight around the whole shape. Image i depends only on the seed, the size and i.
    """
    if images < 2 or min(size) < 2 * _SMALLEST:
        raise ConfigError(f"expected at least 2 images of {2 * _SMALLEST} pixels a side, got {images} of {size}")
    return write_shapes(folder, (draw_image(np.random.default_rng([seed, i]), size) for i in range(images)))


def write_shapes(folder: Path, images: Iterable[Drawn]) -> Path:
    """Write drawn images and their annotations in the files that `make_shapes` describes; return the folder."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    drawn = []
    for i, (image, boxes, labels) in enumerate(images):
        Image.fromarray(image).save(folder / "images" / f"{i:06d}.jpg", quality=92)
        drawn.append((image.shape[:2], boxes, labels))
    validation = np.arange(len(drawn)) % 5 == 1
    for split, chosen in (("train", np.flatnonzero(~validation)), ("val", np.flatnonzero(validation))):
        boxes = np.concatenate([drawn[i][1] for i in chosen])
        index = DatasetIndex(
            root=folder / "images",
            file_names=np.array([f"{i:06d}.jpg" for i in chosen], np.bytes_),
            image_ids=chosen + 1,
            sizes=np.array([drawn[i][0] for i in chosen], np.int32),
            offsets=np.concatenate([[0], np.cumsum([len(drawn[i][1]) for i in chosen])]).astype(np.int64),
            boxes=boxes,
            labels=np.concatenate([drawn[i][2] for i in chosen]),
            crowd=np.zeros(len(boxes), np.bool_),
            areas=(boxes[:, 2:] - boxes[:, :2]).prod(axis=1),
            names=NAMES,
            category_ids=np.arange(1, len(NAMES) + 1),
        )
        write_coco(index, folder / f"{split}.json")
    return folder


def draw_image(random: np.random.Generator, size: tuple[int, int]) -> Drawn:
    """Draw one image of the given short and largest long side."""
    short, long = min(size), int(random.integers(min(size), max(size) + 1))
    height, width = (short, long) if random.random() < 0.5 else (long, short)
    base = random.integers(40, 216, 3)
    canvas = Image.new("RGB", (width * _SCALE, height * _SCALE))
    canvas.paste(Image.fromarray(_gradient(random, base, height // 4, width // 4)).resize(canvas.size))
    _draw_clutter(random, ImageDraw.Draw(canvas), canvas.size)

    owner = np.zeros((canvas.height, canvas.width), np.int64)  # the object visible at each pixel, 0 for none
    areas = [0]
    boxes: list[tuple[float, float, float, float]] = []
    labels: list[int] = []
    for _ in range(int(random.integers(1, _MOST_OBJECTS + 1))):
        label = int(random.integers(len(NAMES)))
        mask = _place(random, label, owner, areas)
        if mask is None:
            continue
        areas.append(int(mask.sum()))
        owner[mask] = len(areas) - 1
        canvas.paste(_contrasting(random, base), mask=Image.fromarray(mask))
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        boxes.append((columns[0] / _SCALE, rows[0] / _SCALE, (columns[-1] + 1) / _SCALE, (rows[-1] + 1) / _SCALE))
        labels.append(label)
    pixels = np.asarray(canvas.reduce(_SCALE), np.float32)
    noise = random.normal(0, random.uniform(2, 12), pixels.shape[:2]).astype(np.float32)
    image = np.clip(pixels + noise[:, :, None], 0, 255).astype(np.uint8)
    return image, np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64)


def _place(random: np.random.Generator, label: int, owner: npt.NDArray[np.int64], areas: list[int]) -> Mask | None:
    """Return the pixels of a new shape that leaves half of each earlier one visible, None if 8 tries fail."""
    height, width = owner.shape
    visible = np.bincount(owner.ravel(), minlength=len(areas))
    for _ in range(8):
        largest = min(_LARGEST * _SCALE, 0.9 * min(height, width))
        radius = math.exp(random.uniform(math.log(_SMALLEST * _SCALE), math.log(largest))) / 2
        x, y = random.uniform(radius, width - radius), random.uniform(radius, height - radius)
        image = Image.new("1", (width, height))
        draw = ImageDraw.Draw(image)
        if label == 0:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)
        else:
            draw.polygon(outline(label, x, y, radius, random.uniform(-_TURN, _TURN)), fill=1)
        mask = np.array(image)
        left = visible - np.bincount(owner[mask], minlength=len(areas))
        if all(part >= whole / 2 for part, whole in zip(left[1:].tolist(), areas[1:])):
            return mask
    return None


def outline(label: int, x: float, y: float, radius: float, turn: float) -> list[Point]:
    """Return the corners of a square, triangle or five-pointed star in a circle around (x, y)."""
    radii = {1: [radius] * 4, 2: [radius] * 3, 3: [radius, 0.42 * radius] * 5}[label]
    upright = {1: math.pi / 4, 2: -math.pi / 2, 3: -math.pi / 2}[label]
    angles = [upright + turn + 2 * math.pi * k / len(radii) for k in range(len(radii))]
    return [(x + r * math.cos(a), y + r * math.sin(a)) for r, a in zip(radii, angles)]


def _gradient(
    random: np.random.Generator, base: npt.NDArray[np.int64], height: int, width: int
) -> npt.NDArray[np.uint8]:
    """Return a background (H, W, 3): colours near `base`, changing in one direction."""
    angle, reach = random.uniform(0, 2 * math.pi), random.uniform(-40, 40, 3)
    y, x = np.mgrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j]
    along = math.cos(angle) * x + math.sin(angle) * y
    colors: npt.NDArray[np.float64] = np.clip(base + along[:, :, None] * reach, 0, 255)
    return colors.astype(np.uint8)


def _draw_clutter(random: np.random.Generator, draw: ImageDraw.ImageDraw, size: tuple[int, int]) -> None:
    """Draw thin lines, and blobs smaller than any object."""
    for _ in range(int(random.integers(0, 8))):
        ends = random.uniform(0, 1, (2, 2)) * size
        draw.line([*ends[0], *ends[1]], fill=_color(random), width=int(random.integers(1, 2 * _SCALE)))
    for _ in range(int(random.integers(0, 15))):
        x, y = random.uniform(0, 1, 2) * size
        w, h = random.uniform(1, 5, 2) * _SCALE
        draw.ellipse((x - w, y - h, x + w, y + h), fill=_color(random))


def _contrasting(random: np.random.Generator, base: npt.NDArray[np.int64]) -> tuple[int, int, int]:
    while True:
        color = _color(random)
        if np.linalg.norm(np.subtract(color, base)) >= _CONTRAST:
            return color


def _color(random: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = random.integers(0, 256, 3).tolist()
    return red, green, blue
