"""Images of every kind that people have, as RGB bytes."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from paa.data.images.decoders import SUFFIXES, decodable_suffixes, limit_pixels, opened, undecodable_suffixes
from paa.data.images.foreign import what_it_is
from paa.data.images.truncated import mend
from paa.errors import ConfigError, ImageError, PaaError, one_line
from paa.runtime.urls import nothing_at

__all__ = [
    "SUFFIXES",
    "as_rgb",
    "collected_remarks",
    "decodable_suffixes",
    "limit_pixels",
    "read_image",
    "read_size",
    "undecodable_suffixes",
    "warn_once",
    "wrong_size",
]

log = logging.getLogger("paa")

_EXIF_ORIENTATION = 274
_SIDES_EXCHANGED = (5, 6, 7, 8)
_TRANSPARENT_MODES = {"LA", "La", "PA", "RGBA", "RGBa"}

Rgb = npt.NDArray[np.uint8]

_collected: ContextVar[list[str] | None] = ContextVar("_collected", default=None)


@functools.cache
def warn_once(remark: str) -> None:
    """Log a warning; the same one is logged once in a process, however often an image is read."""
    log.warning("%s", remark)


@contextmanager
def collected_remarks() -> Iterator[list[str]]:
    """Collect what would be warned of about images that are read inside: a loader's worker hands it over with them."""
    remarks: list[str] = []
    token = _collected.set(remarks)
    try:
        yield remarks
    finally:
        _collected.reset(token)


def read_image(path: Path, size: tuple[int, int] | None = None) -> Rgb:
    """Return the image as a person sees it: (H, W, 3) uint8 RGB, turned as its EXIF orientation says.

    size: the (height, width) its annotations were made for. Transparent images are laid on white, as most viewers and
    annotation tools show them: what is stored under a transparent pixel is arbitrary. 16-bit grey is scaled to 8 bits.
    Of an animation, the first frame. A JPEG, PNG, WebP or BMP whose end is missing is read with a warning, if at most a
    quarter of the image is. Raises ImageError for what cannot be decoded, for too many pixels (`limit_pixels`), and for
    another size.
    """
    try:
        rgb = _decoded(path)
    except ConfigError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever a damaged file makes them stumble on
        raise _unreadable(path, error) from error
    if size is not None and rgb.shape[:2] != size:
        raise ImageError(wrong_size(path, (rgb.shape[0], rgb.shape[1]), size))
    return rgb


def wrong_size(path: Path, own: tuple[int, int], expected: tuple[int, int]) -> str:
    """Return the message for an image of another (height, width) than its annotations say."""
    message = (
        f"{path}: is {own[0]} high and {own[1]} wide as shown, "
        f"its annotations say {expected[0]} high and {expected[1]} wide"
    )
    if own != (expected[1], expected[0]) or not _is_turned(path):
        return message
    return f"{message}: the size before its EXIF orientation turns it; save it turned, or write the size as shown"


def read_size(path: Path) -> tuple[int, int]:
    """Return (height, width) as shown, from the file's header, or from all of it where its end is missing.

    Raises ImageError, for too many pixels too.
    """
    try:
        return _size_of(path)
    except ConfigError:
        raise
    except Exception as error:
        mended = mend(path.read_bytes()) if path.is_file() and not isinstance(error, PaaError) else None
        if mended is None:  # else one that its decoder does not even open, as WebP's
            raise _unreadable(path, error) from error
    return _size_of(mended.data)


def _size_of(source: Path | bytes) -> tuple[int, int]:
    with opened(source) as image:
        width, height = image.size
        turned = image.getexif().get(_EXIF_ORIENTATION, 1) in _SIDES_EXCHANGED
    return (width, height) if turned else (height, width)


def _is_turned(path: Path) -> bool:
    """Return whether an image is shown with its sides exchanged."""
    with opened(path) as image:
        return image.getexif().get(_EXIF_ORIENTATION, 1) in _SIDES_EXCHANGED


def _decoded(path: Path) -> Rgb:
    try:
        with opened(path) as image:
            return _pil_to_rgb(image)
    except PaaError:
        raise
    except Exception:
        mended = mend(path.read_bytes()) if path.is_file() else None
        if mended is None:
            raise
    with opened(mended.data) as image:
        rgb = _pil_to_rgb(image)
    share = f", {mended.lost:.0%} of the image" if mended.lost >= 0.005 else ""
    remark = f"{path}: the end of the file is missing{share}; read as far as it goes"
    if (remarks := _collected.get()) is None:
        warn_once(remark)
    else:
        remarks.append(remark)
    return rgb


def as_rgb(source: str | Path | Image.Image | npt.NDArray[Any] | Tensor) -> Rgb:
    """Return any form of image as (H, W, 3) uint8 RGB.

    source: a file; a PIL image; an array (H, W) or (H, W, 1, 3 or 4); a tensor (1, 3 or 4, H, W). Arrays and tensors
    are RGB (OpenCV's are BGR: `array[:, :, ::-1]`), and hold uint8, uint16 or floats from 0 to 1. Raises ImageError for
    anything else.
    """
    if isinstance(source, (str, Path)):
        return read_image(Path(source))
    if isinstance(source, Image.Image):
        try:
            return _pil_to_rgb(source)
        except Exception as error:
            raise ImageError(f"PIL image of mode {source.mode}: {one_line(error)}") from error
    if isinstance(source, Tensor):
        if source.ndim != 3:
            raise ImageError(f"expected a tensor (3, H, W), got shape {tuple(source.shape)}")
        source = source.detach().cpu().permute(1, 2, 0)
        return _array_to_rgb((source.float() if source.is_floating_point() else source).numpy())
    if isinstance(source, np.ndarray):
        return _array_to_rgb(source)
    raise ImageError(f"expected a file, a PIL image, an array or a tensor, got {type(source).__name__}")


def _pil_to_rgb(image: Image.Image) -> Rgb:
    image.load()
    if image.getexif().get(_EXIF_ORIENTATION, 1) != 1:  # exif_transpose copies an image that lies right as well
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":  # one channel of more than 8 bits
        values = np.asarray(image)
        if image.mode == "I":  # how older Pillow opens a 16-bit PNG
            if values.min() < 0 or values.max() > 65535:
                raise ImageError("a grey image of more than 16 bits")
            values = values.astype(np.uint16)
        return _array_to_rgb(values)
    if image.mode in _TRANSPARENT_MODES or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _array_to_rgb(array: npt.NDArray[Any]) -> Rgb:
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise ImageError(f"expected an image (H, W), or (H, W, C) of 1, 3 or 4 channels, got shape {array.shape}")
    array = _to_bytes(array)
    if array.shape[2] == 4:
        return _pil_to_rgb(Image.fromarray(np.ascontiguousarray(array)))
    return np.array(np.broadcast_to(array, (*array.shape[:2], 3)))


def _to_bytes(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if array.dtype.kind != "f":
        raise ImageError(f"expected uint8, uint16 or floats from 0 to 1, got {array.dtype}")
    low, high = float(array.min()), float(array.max())
    if not (low >= -0.01 and high <= 1.01):  # not-a-number fails as well; interpolation overshoots a little
        raise ImageError(f"expected floats from 0 to 1, got {low:g} to {high:g}")
    return cast("npt.NDArray[np.uint8]", np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8))


def _unreadable(path: Path, error: Exception) -> ImageError:
    """Return what is wrong with a file that cannot be read: what it is instead, or what the decoder says."""
    if isinstance(error, ImageError):
        return ImageError(f"{path}: {error}")
    if isinstance(error, FileNotFoundError):
        return ImageError(nothing_at(path, "image"))
    if path.is_dir():
        return ImageError(f"{path}: a folder, not an image")
    if isinstance(error, UnidentifiedImageError):
        return ImageError(f"{path}: {what_it_is(path) or 'not an image of a known format'}")
    return ImageError(f"{path}: cannot be read: {one_line(error)}")
