"""Repairing image files whose end is missing, if most of the image is in the file.

Files that lack their last bytes are common, and browsers show them. Pillow refuses them, or, with a switch for all
threads of the process, accepts any file however little of the image it holds.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from paa.data.images.decoders import max_pixels, open_image

_MOST_LOST = 0.25  # of the image
_MOST_BLURRED = 0.1  # of a progressive JPEG in its last pass, as parts of other passes may be missing too


class Repaired(NamedTuple):
    """A complete file in place of one whose end is missing. lost: the share of the image that is missing."""

    data: bytes
    lost: float


def repair(data: bytes) -> Repaired | None:
    """Return a complete file with all that a JPEG, PNG, WebP or BMP file without its end holds.

    None for other formats, for a file that is damaged in another respect, and where a large part is missing: more than
    a quarter of the image, or the finer scans of a progressive JPEG.
    """
    for start, repair_format in _FORMATS.items():
        if data.startswith(start):
            repaired = repair_format(data)
            return repaired if repaired is not None and repaired.lost <= _MOST_LOST else None
    return None


class _Scan(NamedTuple):
    """One pass of a JPEG: its components, its first and last coefficient, and the bits that later passes add."""

    components: tuple[int, ...]
    first: int
    last: int
    bits_left: int


_END, _START_OF_SCAN = b"\xff\xd9", 0xDA
_MARKER = re.compile(rb"\xff+[^\xff\x00\xd0-\xd7]")  # in a scan: neither a byte 255 nor a restart
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_OTHER_BITS = bytes(b for b in np.random.default_rng(0).integers(1, 255, 512).tolist() if b != 255)


def _repair_jpeg(data: bytes) -> Repaired | None:
    """Add an end marker to a JPEG: the decoder then shows the image down to where the data ends, and grey below.

    To find that place, the file is decoded again with other bits at its end, also after a restart: from that place on
    the pixels differ. The first grey pixel would not do, as the image itself may be grey.
    """
    data = data.rstrip(b"\0")  # of a file whose length was reserved before its content was written
    frame, block, scans, end = _jpeg_scans(data)
    if data.endswith(_END) or not scans:
        return None
    data = data[:end].rstrip(b"\xff")  # a byte 255 at the end would make a marker of what comes after it
    repaired = data + _END
    progressive = frame in _PROGRESSIVE
    if progressive and scans[-1].bits_left:  # the passes of the last bits, up to half of the file, are missing
        return None
    if _is_fine(scans[:-1], scans):
        return Repaired(repaired, 0.0)
    if not _is_fine(scans, scans):
        return None
    other = data + _OTHER_BITS + _next_restart(data) + _OTHER_BITS + _END
    lost = 1 - _share_before(_pixels(repaired) != _pixels(other), block)
    return None if progressive and lost > _MOST_BLURRED else Repaired(repaired, lost)


def _jpeg_scans(data: bytes) -> tuple[int, int, list[_Scan], int]:
    """Return the marker of a JPEG's frame, the height of its blocks, its scans, and its end.

    The last scan may be incomplete. The end is that of the data, or the start of a header that is incomplete.
    """
    scans: list[_Scan] = []
    frame, block, place = 0, 8, 2
    while place + 4 <= len(data) and data[place] == 255:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if marker == 255:  # may be repeated
            place += 1
            continue
        header = data[place + 4 : place + 2 + length]
        if len(header) < length - 2 or length < 2:
            break
        place += 2 + length
        if marker in _FRAMES:
            frame = marker
            if len(header) > 8:  # several components, whose blocks differ in height: the image's are the highest
                block = 8 * max(1, *(sampling & 15 for sampling in header[7::3]))
        if marker == _START_OF_SCAN and length > 5:
            components = tuple(header[1 : 1 + 2 * header[0] : 2])
            scans.append(_Scan(components, header[-3], header[-2], header[-1] & 15))
            found = _MARKER.search(data, place)
            if found is None:
                return frame, block, scans, len(data)
            place = found.start()
    return frame, block, scans, min(place, len(data))


def _is_fine(scans: list[_Scan], every: list[_Scan]) -> bool:
    """Return whether scans hold all coefficients, but for their last bits, of all components in `every` scan."""
    left = {component: np.full(64, 16) for scan in every for component in scan.components}
    for scan in scans:
        for component in scan.components:
            left[component][scan.first : scan.last + 1] = scan.bits_left
    return len(left) in (1, 3, 4) and all(bool((bits <= 1).all()) for bits in left.values())


def _next_restart(data: bytes) -> bytes:
    """Return the marker of a JPEG's next restart: without it, bits after the end of a restart's part are skipped."""
    found = _RESTART.findall(data)
    number = found[-1][1] - 0xD0 + 1 if found else 0
    return bytes([255, 0xD0 + number % 8])


def _pixels(data: bytes) -> npt.NDArray[np.uint8]:
    with open_image(data) as image:
        return np.asarray(image)


def _share_before(differ: npt.NDArray[np.bool_], block: int) -> float:
    """Return the share of an image (H, W) or (H, W, C) before the first pixel that differs; 1 if none does.

    "Before" is in the order of the file: rows of blocks, each `block` pixels high, from left to right.
    """
    height, width = differ.shape[:2]
    rows = np.flatnonzero(differ.reshape(height, -1).any(axis=1))
    if not len(rows):
        return 1.0
    top = (int(rows[0]) + 1) // block * block  # smoothing of colours makes a row above differ too
    if top >= height:
        return 1.0
    bottom = min(top + block, height)
    left = int(np.flatnonzero(differ[top:bottom].reshape(bottom - top, width, -1).any(axis=(0, 2)))[0])
    return float((top * width + (bottom - top) * left) / (height * width))


_PNG_START = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by type of colour
_OF_ANIMATIONS = {b"acTL", b"fcTL", b"fdAT"}


def _repair_png(data: bytes) -> Repaired | None:
    """Unpack the rows that a PNG has, and pack them again with empty rows in place of the missing ones."""
    kept = [_PNG_START]
    packed = b""
    for kind, content, whole in _png_chunks(data):
        if kind == b"IEND" and whole:
            return None  # complete: the file has another fault
        if kind == b"IDAT":
            packed += content
        elif whole and not packed and kind not in _OF_ANIMATIONS:
            kept.append(_png_chunk(kind, content))
    if len(kept) < 2 or not kept[1].startswith(b"\0\0\0\x0dIHDR"):
        return None
    width, height, depth, colour, interlaced = struct.unpack(">IIBBxxB", kept[1][8:21])
    if width * height > max_pixels() or colour not in _CHANNELS:
        return None
    size = _png_bytes(width, height, depth * _CHANNELS[colour], interlaced)
    try:
        rows = zlib.decompressobj().decompress(packed, size)
    except zlib.error:
        return None
    lost = 1 - len(rows) / size
    if lost > _MOST_LOST:
        return None
    image = zlib.compress(rows + bytes(size - len(rows)), 1)
    return Repaired(b"".join([*kept, _png_chunk(b"IDAT", image), _png_chunk(b"IEND", b"")]), lost)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yield the kind and the content of each chunk, and whether it is complete."""
    place = len(_PNG_START)
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        content = data[place + 8 : place + 8 + length]
        yield kind, content, place + 12 + length <= len(data)
        place += 12 + length


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png_bytes(width: int, height: int, bits: int, interlaced: int) -> int:
    """Return how many bytes a PNG's rows have at this number of bits per pixel, with a filter byte in each row."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    total = 0
    for x, y, across, down in passes if interlaced else [(0, 0, 1, 1)]:
        columns, rows = -((x - width) // across), -((y - height) // down)
        total += rows * (1 + (columns * bits + 7) // 8) if columns > 0 and rows > 0 else 0
    return total


def _repair_webp(data: bytes) -> Repaired | None:
    """Put zeros in place of a WebP's end, more than are missing, as its decoder reads ahead; only the image is kept."""
    if data[8:12] != b"WEBP" or len(data) < 20:
        return None
    place = 12
    while place + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, place)
        content = data[place + 8 : place + 8 + length]
        if kind in (b"VP8 ", b"VP8L") and length:
            missing = length - len(content)
            if not missing and place + 8 + length + length % 2 >= 8 + struct.unpack_from("<I", data, 4)[0]:
                return None  # complete: the file has another fault
            if missing > _MOST_LOST * length:
                return None
            content += bytes(2 * ((missing + length // 8 + 4096) // 2) + len(content) % 2) if missing else b""
            body = data[8:place] + kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
            return Repaired(b"RIFF" + struct.pack("<I", len(body)) + body, missing / length)
        place += 8 + length + length % 2
    return None


def _repair_bmp(data: bytes) -> Repaired | None:
    """Put zeros in place of a BMP's end."""
    if len(data) < 14:
        return None
    whole, start = (int.from_bytes(data[at : at + 4], "little") for at in (2, 10))
    missing = whole - len(data)
    if missing <= 0 or len(data) <= start or missing > _MOST_LOST * (whole - start):
        return None
    return Repaired(data + bytes(missing), missing / (whole - start))


_FORMATS: dict[bytes, Callable[[bytes], Repaired | None]] = {
    b"\xff\xd8\xff": _repair_jpeg,
    _PNG_START: _repair_png,
    b"RIFF": _repair_webp,
    b"BM": _repair_bmp,
}
