"""From any kind of pixels (PIL images of all modes, arrays, tensors) to RGB bytes."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps
from torch import Tensor

from paa.errors import ImageError

EXIF_ORIENTATION = 274
_BITS = 258  # TIFF's BitsPerSample
_TRANSPARENT_MODES = {"LA", "La", "PA", "RGBA", "RGBa"}

Rgb = npt.NDArray[np.uint8]
"""An image (H, W, 3), red, green, blue."""


def pil_to_rgb(image: Image.Image) -> Rgb:
    """Return a PIL image as RGB bytes: turned as its EXIF orientation says, transparency on white, 16 bits scaled."""
    image.load()
    from_file = image.format is not None
    twelve_bits = image.format == "TIFF" and image.mode.startswith("I;16") and image.tag_v2.get(_BITS) == (12,)  # type: ignore[attr-defined]
    if image.getexif().get(EXIF_ORIENTATION, 1) != 1:  # exif_transpose would copy an upright image too
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":  # one channel of more than 8 bits
        values = np.asarray(image)
        if image.mode == "I":  # the mode that older Pillow gives a 16-bit PNG
            if values.min() < 0 or values.max() > 65535:
                raise ImageError("a grey image of more than 16 bits")
            if not from_file and 0 < values.max() <= 255:
                raise ImageError("mode I with no value above 255, which would be black: convert it to mode L first")
            values = values.astype(np.uint16)
        if twelve_bits:  # which Pillow gives as they are, from 0 to 4095
            values = (values.astype(np.uint32) * 65535 // 4095).astype(np.uint16)
        rgb = array_to_rgb(values)
        if isinstance(transparent := image.info.get("transparency"), int):
            rgb[np.asarray(image) == transparent] = 255
        return rgb
    if image.mode in _TRANSPARENT_MODES or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def tensor_to_rgb(tensor: Tensor) -> Rgb:
    """Return a tensor (C, H, W) of 1, 3 or 4 channels as RGB bytes; values as in `array_to_rgb`."""
    if tensor.ndim != 3:
        raise ImageError(f"expected a tensor (3, H, W), got shape {tuple(tensor.shape)}")
    tensor = tensor.detach().cpu().permute(1, 2, 0)
    return array_to_rgb((tensor.float() if tensor.is_floating_point() else tensor).numpy())


def array_to_rgb(array: npt.NDArray[Any]) -> Rgb:
    """Return an array (H, W), or (H, W, C) of 1, 3 or 4 channels, as RGB bytes.

    Values: uint8, uint16, or floats from 0 to 1. ImageError for other shapes, types and values.
    """
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise ImageError(f"expected an image (H, W), or (H, W, C) of 1, 3 or 4 channels, got shape {array.shape}")
    array = _to_bytes(array)
    if array.shape[2] == 4:
        return pil_to_rgb(Image.fromarray(np.ascontiguousarray(array)))
    return np.array(np.broadcast_to(array, (*array.shape[:2], 3)))


def _to_bytes(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if array.dtype.kind != "f":
        raise ImageError(f"expected uint8, uint16 or floats from 0 to 1, got {array.dtype}")
    low, high = float(array.min()), float(array.max())
    if not (low >= -0.01 and high <= 1.01):  # false for NaN too; interpolation overshoots 0 and 1 a little
        raise ImageError(f"expected floats from 0 to 1, got {low:g} to {high:g}")
    return cast("npt.NDArray[np.uint8]", np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8))
