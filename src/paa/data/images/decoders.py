"""Pillow's decoders: which files they open on this machine, and up to how many pixels."""

from __future__ import annotations

import functools
import importlib
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from io import BytesIO
from pathlib import Path
from typing import IO

from PIL import Image, UnidentifiedImageError, features

from paa.errors import ConfigError, ImageError, TooManyPixelsError

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2", ".j2k", ".avif"}
)
"""Suffixes of image files that an ordinary Pillow decodes; see `decodable_suffixes` for the Pillow installed here."""

HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
_OTHER_SUFFIXES = frozenset(
    {".jxl", ".jxr", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".exr", ".svg", ".psd"}
)
_NEEDED_FEATURES = {".webp": "webp", ".jp2": "jpg_2000", ".j2k": "jpg_2000", ".avif": "avif"}

_FORMATS = frozenset({"JPEG", "MPO", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM", "TGA"}) | frozenset(
    {"JPEG2000", "AVIF", "HEIF"}
)
"""What Pillow calls the formats that are read: those of `SUFFIXES`. It has some thirty more, hardly used for photos and
hardly tested against hostile files, such as EPS, which starts another program."""

MAX_PIXELS_VARIABLE = "PAA_MAX_PIXELS"
_DEFAULT_MAX_PIXELS = 178_956_970  # Pillow's own limit
_of_block: ContextVar[int | None] = ContextVar("_of_block", default=None)
_RAISED_BY = "--max-pixels {} reads it (in Python: paa.data.images.decoders.limit_pixels)"


def decodable_suffixes() -> frozenset[str]:
    """Return the suffixes, lower-case and with their dot, of the image files that can be decoded here."""
    missing = {suffix for suffix, feature in _NEEDED_FEATURES.items() if not features.check(feature)}
    return (SUFFIXES - missing) | (HEIF_SUFFIXES if _register_heif() else frozenset())


def undecodable_suffixes() -> frozenset[str]:
    """Return the suffixes of image files that cannot be decoded here, so that a message can name them."""
    return (SUFFIXES | HEIF_SUFFIXES | _OTHER_SUFFIXES) - decodable_suffixes()


def limit_pixels(number: int | None) -> None:
    """Set how many pixels an image may have, in this process and all that it starts; None: the default.

    The limit keeps a small file, damaged or malicious, from filling the memory. ConfigError for a number below 1.
    """
    if number is None:
        os.environ.pop(MAX_PIXELS_VARIABLE, None)
        return
    if number < 1:
        raise ConfigError(f"--max-pixels must be at least 1, got {number}")
    os.environ[MAX_PIXELS_VARIABLE] = str(number)


@contextmanager
def limited_pixels(number: int | None) -> Iterator[None]:
    """Let an image have so many pixels in this block of this thread alone; None: as many as in the process."""
    token = _of_block.set(number)
    try:
        yield
    finally:
        _of_block.reset(token)


def max_pixels() -> int:
    """Return how many pixels an image may have: those of `limited_pixels`, else PAA_MAX_PIXELS, or 178,956,970.

    The limit is an environment variable so that loader processes, however they are started, have the same limit.
    ConfigError for a value that is no whole number above 0.
    """
    if (of_block := _of_block.get()) is not None:
        return of_block
    given = os.environ.get(MAX_PIXELS_VARIABLE, "")
    if not given:
        return _DEFAULT_MAX_PIXELS
    if not given.isdecimal() or int(given) < 1:
        raise ConfigError(f"{MAX_PIXELS_VARIABLE} must be a whole number above 0, got {given!r}")
    return int(given)


@contextmanager
def open_image(source: Path | bytes) -> Iterator[Image.Image]:
    """Yield the image of a file, or of a file's bytes, with only its header read yet.

    Image.open would apply Pillow's own limit of pixels, which all threads and libraries of the process share, and warn
    from half of that limit on. Raises TooManyPixelsError, UnidentifiedImageError for a file that no
    decoder recognises, and any error of a decoder.
    """
    limit = max_pixels()
    own = Image.MAX_IMAGE_PIXELS
    if own is not None and limit > max(2 * own, _DEFAULT_MAX_PIXELS):  # some decoders check Pillow's limit themselves
        Image.MAX_IMAGE_PIXELS = (limit + 1) // 2
    with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        try:
            image = _identified(file, "" if isinstance(source, bytes) else os.fspath(source))
        except Image.DecompressionBombError as error:
            raise TooManyPixelsError(
                f"has more pixels than the limit of {limit:,}: {_RAISED_BY.format('N')}"
            ) from error
        width, height = image.size
        if width * height > limit:
            raise TooManyPixelsError(
                f"has {width * height:,} pixels ({width} x {height}), more than the limit of {limit:,}: "
                + _RAISED_BY.format(width * height)
            )
        yield image


def _identified(file: IO[bytes], name: str) -> Image.Image:
    """Return the image from the first of Pillow's decoders that recognises the file; common formats are tried first.

    Only decoders of usual formats open it. Raises ImageError for a file that looks like another format's.
    """
    start = file.read(16)
    if start[4:8] == b"ftyp":
        _register_heif()
    tried: set[str] = set()
    other = ""
    for load in (Image.preinit, Image.init):
        load()
        for format in [each for each in Image.ID if each not in tried]:
            tried.add(format)
            factory, accept = Image.OPEN[format]
            try:
                answer = accept is None or accept(start)
                if answer and not isinstance(answer, str):  # a string: its library is not installed
                    file.seek(0)
                    if format in _FORMATS:
                        return factory(file, name)
                    if accept is not None:
                        other = other or format
            except (SyntaxError, IndexError, TypeError, struct.error):  # this decoder does not recognise the file
                continue
    if other:
        raise ImageError(f"an image in the format {other}, which is not read: convert it to PNG or JPEG")
    raise UnidentifiedImageError


@functools.cache
def _register_heif() -> bool:
    """Add pillow-heif's decoder of HEIC and HEIF to Pillow's; return whether the package is installed."""
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        return False
    return True
