"""Looking at every image of a data set: whether it can be decoded, and two keys by which equal images are found."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from paa.data.images.read import read_image
from paa.data.images.remarks import collected_remarks
from paa.data.images.rgb import Rgb
from paa.data.index import DatasetIndex
from paa.errors import ImageError, one_line

_GRID = 16  # cells of an image along each side whose brightness is compared
_BRIGHTER = 1.0  # of 255; less is the noise of compression, where an image is plain

BITS = _GRID * _GRID

Looks = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ImageFacts:
    """What is known of an image file.

    content: equal for images of equal pixels; without decoding, for equal files; None for a file that cannot be read.
    looks (256,): the bits of `looks_of`, which differ little between versions of an image; None without decoding.
    error: why the image cannot be used. remarks: what is wrong with it, though it can be used.
    """

    content: bytes | None
    looks: Looks | None = None
    error: str = ""
    remarks: tuple[str, ...] = ()


def look_at_images(
    index: DatasetIndex, decode: bool = True, threads: int = 2, advance: Callable[[int], None] = lambda count: None
) -> list[ImageFacts]:
    """Return the facts of each image. decode: decode the images; otherwise only the bytes of the files are compared.

    advance: called with 1 after each image.
    """
    look = _decoded if decode else _as_file
    sizes = [(height, width) for height, width in index.sizes.tolist()]
    facts = []
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for fact in _in_order(pool, look, [index.path(i) for i in range(len(index))], sizes):
            facts.append(fact)
            advance(1)
    return facts


def looks_of(image: Rgb) -> Looks:
    """Return the difference hash of an image (256,): whether each cell of a grid is brighter than the one before.

    Scaling, compression and small changes of brightness change few of the bits (Krawetz, "Kind of like that", 2013).
    """
    grey = Image.fromarray(image).convert("L").convert("F")  # in floats, as rounded means would be equal by chance
    values = np.asarray(grey.resize((_GRID + 1, _GRID), Image.Resampling.BOX))
    return np.asarray(values[:, 1:] - values[:, :-1] > _BRIGHTER).ravel()


def _in_order(
    pool: ThreadPoolExecutor,
    look: Callable[[Path, tuple[int, int]], ImageFacts],
    paths: list[Path],
    sizes: list[tuple[int, int]],
) -> Iterator[ImageFacts]:
    """Yield the facts in the images' order; an interruption is not kept waiting by the images still to come."""
    try:
        yield from pool.map(look, paths, sizes)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _decoded(path: Path, size: tuple[int, int]) -> ImageFacts:
    with collected_remarks() as remarks:
        try:
            image = read_image(path, size)
        except ImageError as error:
            return ImageFacts(None, error=str(error))
    shape = np.array(image.shape, np.int64).tobytes()
    content = hashlib.sha256(shape + np.ascontiguousarray(image).tobytes()).digest()
    return ImageFacts(content, looks_of(image), remarks=tuple(remarks))


def _as_file(path: Path, size: tuple[int, int]) -> ImageFacts:
    try:
        return ImageFacts(hashlib.sha256(path.read_bytes()).digest())
    except OSError as error:
        return ImageFacts(None, error=f"{path}: cannot be read: {one_line(error)}")
