"""Which image files Pillow decodes here, and up to how many pixels."""

from __future__ import annotations

import functools
import importlib
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO

from PIL import Image, UnidentifiedImageError, features

from paa.errors import ConfigError, ImageError

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2", ".j2k", ".avif"}
)
"""Of image files that an ordinary Pillow decodes; `decodable_suffixes` tells what the one here does."""

HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
_OTHER_SUFFIXES = frozenset(
    {".jxl", ".jxr", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".exr", ".svg", ".psd"}
)
_NEEDED_FEATURES = {".webp": "webp", ".jp2": "jpg_2000", ".j2k": "jpg_2000", ".avif": "avif"}

MAX_PIXELS_VARIABLE = "PAA_MAX_PIXELS"
_DEFAULT_MAX_PIXELS = 178_956_970  # where Pillow itself stops
_RAISED_BY = "--max-pixels {} reads it (in Python: paa.data.images.read.limit_pixels)"


def decodable_suffixes() -> frozenset[str]:
    """Return the suffixes, lower-case and with their dot, of the image files that can be decoded here."""
    missing = {suffix for suffix, feature in _NEEDED_FEATURES.items() if not features.check(feature)}
    return (SUFFIXES - missing) | (HEIF_SUFFIXES if _register_heif() else frozenset())


def undecodable_suffixes() -> frozenset[str]:
    """Return the suffixes of files that are images, too, and cannot be decoded here, so that they can be named."""
    return (SUFFIXES | HEIF_SUFFIXES | _OTHER_SUFFIXES) - decodable_suffixes()


def limit_pixels(number: int | None) -> None:
    """Set how many pixels an image may have, in this process and all that it starts; None: the default.

    The limit keeps a small file, damaged or made to do so, from taking all memory. ConfigError for a number below 1.
    """
    if number is None:
        os.environ.pop(MAX_PIXELS_VARIABLE, None)
        return
    if number < 1:
        raise ConfigError(f"--max-pixels must be at least 1, got {number}")
    os.environ[MAX_PIXELS_VARIABLE] = str(number)


def max_pixels() -> int:
    """Return how many pixels an image may have: PAA_MAX_PIXELS, which is the environment's so that loader processes
    have it however they are started, or 178,956,970. ConfigError if it is no such number.
    """
    given = os.environ.get(MAX_PIXELS_VARIABLE, "")
    if not given:
        return _DEFAULT_MAX_PIXELS
    if not given.isdecimal() or int(given) < 1:
        raise ConfigError(f"{MAX_PIXELS_VARIABLE} must be a whole number above 0, got {given!r}")
    return int(given)


@contextmanager
def opened(source: Path | bytes) -> Iterator[Image.Image]:
    """Yield the image of a file, or of a file's bytes, of which the header is read.

    Image.open would hold it against Pillow's own limit, one for all threads and libraries of the process, and print a
    warning below it. Raises ImageError for too many pixels, UnidentifiedImageError for what no decoder takes, and
    whatever the decoders stumble on.
    """
    limit = max_pixels()
    own = Image.MAX_IMAGE_PIXELS
    if own is not None and limit > max(2 * own, _DEFAULT_MAX_PIXELS):  # some decoders look at it themselves
        Image.MAX_IMAGE_PIXELS = (limit + 1) // 2
    with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        try:
            image = _identified(file, "" if isinstance(source, bytes) else os.fspath(source))
        except Image.DecompressionBombError as error:
            raise ImageError(f"has more pixels than the limit of {limit:,}: {_RAISED_BY.format('N')}") from error
        width, height = image.size
        if width * height > limit:
            raise ImageError(
                f"has {width * height:,} pixels ({width} x {height}), more than the limit of {limit:,}: "
                + _RAISED_BY.format(width * height)
            )
        yield image


def _identified(file: IO[bytes], name: str) -> Image.Image:
    """Return the image of the first of Pillow's decoders that takes the file, the common ones first."""
    start = file.read(16)
    if start[4:8] == b"ftyp":
        _register_heif()
    tried: set[str] = set()
    for load in (Image.preinit, Image.init):
        load()
        for format in [each for each in Image.ID if each not in tried]:
            tried.add(format)
            factory, accept = Image.OPEN[format]
            try:
                answer = accept is None or accept(start)
                if answer and not isinstance(answer, str):  # a text tells that it would if it had its library
                    file.seek(0)
                    return factory(file, name)
            except (SyntaxError, IndexError, TypeError, struct.error):  # how a decoder says: not mine
                continue
    raise UnidentifiedImageError


@functools.cache
def _register_heif() -> bool:
    """Have Pillow decode HEIC and HEIF, if the package for it is installed; say whether it is."""
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        return False
    return True
