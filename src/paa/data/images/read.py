"""Reading images of every kind that people have, with messages that say why other files cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from paa.data.images.decoders import open_image
from paa.data.images.non_images import describe_bytes, describe_file
from paa.data.images.remarks import remark
from paa.data.images.rgb import EXIF_ORIENTATION, Rgb, array_to_rgb, pil_to_rgb, tensor_to_rgb
from paa.data.images.truncated import repair
from paa.errors import ConfigError, ImageError, PaaError, one_line
from paa.runtime.urls import nothing_at

_UNKNOWN = "not an image of a known format"
_SIDES_EXCHANGED = (5, 6, 7, 8)  # EXIF orientations that turn by 90 degrees


def as_rgb(source: str | Path | Image.Image | npt.NDArray[Any] | Tensor) -> Rgb:
    """Return any form of image as (H, W, 3) uint8 RGB.

    source: a file; a PIL image; an array (H, W) or (H, W, 1, 3 or 4); a tensor (1, 3 or 4, H, W). Arrays and tensors
    are RGB (OpenCV's are BGR: `array[:, :, ::-1]`), and hold uint8, uint16 or floats from 0 to 1. Raises ImageError for
    anything else.
    """
    match source:
        case str() | Path():
            return read_image(Path(source))
        case Image.Image():
            try:
                return pil_to_rgb(source)
            except Exception as error:
                raise ImageError(f"PIL image of mode {source.mode}: {one_line(error)}") from error
        case Tensor():
            return tensor_to_rgb(source)
        case np.ndarray():
            return array_to_rgb(source)
    raise ImageError(f"expected a file, a PIL image, an array or a tensor, got {type(source).__name__}")


def read_image(path: Path, size: tuple[int, int] | None = None) -> Rgb:
    """Return the image as a person sees it: (H, W, 3) uint8 RGB, turned as its EXIF orientation says.

    size: the (height, width) in the image's annotations. Transparent images are laid on white, as most viewers
    and annotation tools show them: the colour stored under a transparent pixel is arbitrary. 16-bit grey is scaled to 8
    bits. An animation gives its first frame. A JPEG, PNG, WebP or BMP that lacks its end is read with a warning, if at
    most a quarter of the image is missing. Raises ImageError for a file that cannot be decoded, for too many pixels
    (`limit_pixels`), and for another size.
    """
    try:
        rgb = _decoded(path, str(path))
    except ConfigError:
        raise
    except Exception as error:  # Pillow's decoders raise errors of any kind for a damaged file
        raise _unreadable(path, error) from error
    if size is not None and rgb.shape[:2] != size:
        raise ImageError(wrong_size(path, (rgb.shape[0], rgb.shape[1]), size))
    return rgb


def decode_image(data: bytes, name: str) -> Rgb:
    """Return the image in the bytes of a file, as `read_image` does. name: what messages call it."""
    try:
        return _decoded(data, name)
    except ConfigError:
        raise
    except ImageError as error:
        raise type(error)(f"{name}: {error}") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: {describe_bytes(data[:4096], data.count(0) == len(data)) or _UNKNOWN}") from error
    except Exception as error:  # Pillow's decoders raise errors of any kind for a damaged file
        raise ImageError(f"{name}: cannot be read: {one_line(error)}") from error


def read_size(path: Path) -> tuple[int, int]:
    """Return the (height, width) as shown, from the file's header, or from the whole file where its end is missing.

    Raises ImageError, also for too many pixels.
    """
    try:
        return _size_of(path)
    except ConfigError:
        raise
    except Exception as error:
        try:
            repaired = repair(path.read_bytes()) if path.is_file() and not isinstance(error, PaaError) else None
            if repaired is not None:  # some decoders, such as WebP's, do not open a file without its end
                return _size_of(repaired.data)
        except Exception as other:  # a file that cannot be repaired either
            raise _unreadable(path, error) from other
        raise _unreadable(path, error) from error


def wrong_size(path: Path, own: tuple[int, int], expected: tuple[int, int]) -> str:
    """Return the message for an image whose (height, width) is not the one in its annotations."""
    message = (
        f"{path}: is {own[0]} high and {own[1]} wide as shown, "
        f"its annotations say {expected[0]} high and {expected[1]} wide"
    )
    if own != (expected[1], expected[0]) or not _is_turned(path):
        return message
    return f"{message}: the size before its EXIF orientation turns it; save it turned, or write the size as shown"


def _size_of(source: Path | bytes) -> tuple[int, int]:
    with open_image(source) as image:
        width, height = image.size
        # Pillow exchanges a TIFF's sides itself
        turned = image.format != "TIFF" and _exchanges_sides(image)
    return (width, height) if turned else (height, width)


def _is_turned(path: Path) -> bool:
    """Return whether an image is shown with its sides exchanged."""
    with open_image(path) as image:
        return _exchanges_sides(image)


def _exchanges_sides(image: Image.Image) -> bool:
    return image.getexif().get(EXIF_ORIENTATION, 1) in _SIDES_EXCHANGED


def _decoded(source: Path | bytes, name: str) -> Rgb:
    """Return the pixels of a file or of its bytes; a remark says so where the end of the file is missing."""
    try:
        with open_image(source) as image:
            return pil_to_rgb(image)
    except PaaError:
        raise
    except Exception:
        data = source if isinstance(source, bytes) else source.read_bytes() if source.is_file() else b""
        repaired = repair(data)
        if repaired is None:
            raise
    with open_image(repaired.data) as image:
        rgb = pil_to_rgb(image)
    share = f", {repaired.lost:.0%} of the image" if repaired.lost >= 0.005 else ""
    remark(f"{name}: the end of the file is missing{share}; the rest is used")
    return rgb


def _unreadable(path: Path, error: Exception) -> ImageError:
    """Return the error for a file that cannot be read: what it is instead of an image, or the decoder's message."""
    if isinstance(error, ImageError):
        return type(error)(f"{path}: {error}")
    if isinstance(error, FileNotFoundError):
        return ImageError(nothing_at(path, "image"))
    if path.is_dir():
        return ImageError(f"{path}: a folder, not an image")
    if isinstance(error, UnidentifiedImageError):
        return ImageError(f"{path}: {describe_file(path) or _UNKNOWN}")
    return ImageError(f"{path}: cannot be read: {one_line(error)}")
