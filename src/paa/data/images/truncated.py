"""Image files whose end is missing: how much of the image is there, and a file that shows it.

Pillow refuses them, or, with a switch for all threads of the process, takes a file of which next to nothing is there.
A browser shows what there is, and files that lack some bytes are common.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from paa.data.images.decoders import max_pixels, opened

_MOST_LOST = 0.25
_MOST_BLURRED = 0.1  # of a progressive JPEG in its last pass; others may be missing besides


class Mended(NamedTuple):
    """A file that decodes in place of one whose end is missing. lost: the share of it that shows nothing."""

    data: bytes
    lost: float


def mend(data: bytes) -> Mended | None:
    """Return a whole file that shows what a JPEG, PNG, WebP or BMP file without its end holds.

    None for other formats, for a file that is not cut but damaged, and where a large part is lost: more than a quarter
    of the image, or a progressive JPEG's finer scans.
    """
    for start, mend_one in _FORMATS.items():
        if data.startswith(start):
            mended = mend_one(data)
            return mended if mended is not None and mended.lost <= _MOST_LOST else None
    return None


class _Scan(NamedTuple):
    """One pass of a JPEG: its components, the first and the last coefficient, and the bits that are yet to come."""

    components: tuple[int, ...]
    first: int
    last: int
    bits_left: int


_END, _START_OF_SCAN = b"\xff\xd9", 0xDA
_MARKER = re.compile(rb"\xff+[^\xff\x00\xd0-\xd7]")  # in a scan: neither a byte 255 nor a restart
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_OTHER_BITS = bytes(b for b in np.random.default_rng(0).integers(1, 255, 512).tolist() if b != 255)


def _mend_jpeg(data: bytes) -> Mended | None:
    """Put an end marker to a JPEG, for which the decoder shows what came before it, and grey below.

    Where the data ends is where bits that are put behind it begin to show: grey may be the image's own.
    """
    data = data.rstrip(b"\0")  # of a file whose length was reserved before its content came
    frame, block, scans, end = _jpeg_scans(data)
    if data.endswith(_END) or not scans:
        return None
    data = data[:end]
    mended = data + _END
    progressive = frame in _PROGRESSIVE
    if progressive and scans[-1].bits_left:  # the passes for the last bit, up to half of the file, have not begun
        return None
    if _is_fine(scans[:-1], scans):
        return Mended(mended, 0.0)
    if not _is_fine(scans, scans):
        return None
    lost = 1 - _share_before(_pixels(mended) != _pixels(data + _OTHER_BITS + _END), block)
    return None if progressive and lost > _MOST_BLURRED else Mended(mended, lost)


def _jpeg_scans(data: bytes) -> tuple[int, int, list[_Scan], int]:
    """Return the marker that tells the kind of a JPEG, the height of its blocks, its scans, and its end.

    The last scan may be incomplete. The end is that of the data, or the start of a header that is cut.
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
            if len(header) > 8:  # more than one component: the blocks of that with most rows make one of the image
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
    """Say whether scans give every coefficient of all components to its last bit but one, which is hardly seen."""
    left = {component: np.full(64, 16) for scan in every for component in scan.components}
    for scan in scans:
        for component in scan.components:
            left[component][scan.first : scan.last + 1] = scan.bits_left
    return len(left) in (1, 3, 4) and all(bool((bits <= 1).all()) for bits in left.values())


def _pixels(data: bytes) -> npt.NDArray[np.uint8]:
    with opened(data) as image:
        return np.asarray(image)


def _share_before(differ: npt.NDArray[np.bool_], block: int) -> float:
    """Return how much of an image (H, W) or (H, W, C) lies before the first place that differs: 1 if none does.

    An image is written in rows of blocks, each `block` pixels high and from left to right.
    """
    height, width = differ.shape[:2]
    rows = np.flatnonzero(differ.reshape(height, -1).any(axis=1))
    if not len(rows):
        return 1.0
    top = (int(rows[0]) + 1) // block * block  # a row above it differs too, where colours are smoothed
    if top >= height:
        return 1.0
    bottom = min(top + block, height)
    left = int(np.flatnonzero(differ[top:bottom].reshape(bottom - top, width, -1).any(axis=(0, 2)))[0])
    return float((top * width + (bottom - top) * left) / (height * width))


_PNG_START = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by type of colour
_OF_ANIMATIONS = {b"acTL", b"fcTL", b"fdAT"}


def _mend_png(data: bytes) -> Mended | None:
    """Unpack the rows that a PNG has, and pack them anew with empty ones in place of the others."""
    kept = [_PNG_START]
    packed = b""
    for kind, content, whole in _png_chunks(data):
        if kind == b"IEND" and whole:
            return None  # not cut, but damaged
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
    return Mended(b"".join([*kept, _png_chunk(b"IDAT", image), _png_chunk(b"IEND", b"")]), lost)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yield the kind and the content of each chunk, and whether all of it is there."""
    place = len(_PNG_START)
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        content = data[place + 8 : place + 8 + length]
        yield kind, content, place + 12 + length <= len(data)
        place += 12 + length


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png_bytes(width: int, height: int, bits: int, interlaced: int) -> int:
    """Return how many bytes the rows of a PNG have, of so many bits a pixel, each row with a byte for its filter."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    total = 0
    for x, y, across, down in passes if interlaced else [(0, 0, 1, 1)]:
        columns, rows = -((x - width) // across), -((y - height) // down)
        total += rows * (1 + (columns * bits + 7) // 8) if columns > 0 and rows > 0 else 0
    return total


def _mend_webp(data: bytes) -> Mended | None:
    """Put zeros in place of a WebP's end, and some more, which its decoder looks for; only its image is kept."""
    if data[8:12] != b"WEBP" or len(data) < 20:
        return None
    place = 12
    while place + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, place)
        content = data[place + 8 : place + 8 + length]
        if kind in (b"VP8 ", b"VP8L") and length:
            missing = length - len(content)
            if not missing and place + 8 + length + length % 2 >= 8 + struct.unpack_from("<I", data, 4)[0]:
                return None  # whole, and refused for another reason
            content += bytes(2 * ((missing + length // 8 + 4096) // 2) + len(content) % 2) if missing else b""
            body = data[8:place] + kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
            return Mended(b"RIFF" + struct.pack("<I", len(body)) + body, missing / length)
        place += 8 + length + length % 2
    return None


def _mend_bmp(data: bytes) -> Mended | None:
    """Put zeros in place of a BMP's end."""
    if len(data) < 14:
        return None
    whole, start = (int.from_bytes(data[at : at + 4], "little") for at in (2, 10))
    missing = whole - len(data)
    if missing <= 0 or len(data) <= start or missing > _MOST_LOST * (whole - start):
        return None
    return Mended(data + bytes(missing), missing / (whole - start))


_FORMATS: dict[bytes, Callable[[bytes], Mended | None]] = {
    b"\xff\xd8\xff": _mend_jpeg,
    _PNG_START: _mend_png,
    b"RIFF": _mend_webp,
    b"BM": _mend_bmp,
}
