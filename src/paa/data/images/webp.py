"""The size of a WebP image from its first bytes, as Pillow takes memory for it before saying its size."""

from __future__ import annotations

import struct

HEADER = 30  # bytes


def webp_size(start: bytes) -> tuple[int, int] | None:
    """Return the (width, height) that the first 30 bytes of a WebP file say; None for another file.

    See RFC 9649, sections 2.5 to 2.7: the canvas of the extended format, a lossy frame, a lossless one.
    """
    if len(start) < HEADER or start[:4] != b"RIFF" or start[8:12] != b"WEBP":
        return None
    match start[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(start[24:27], "little"), 1 + int.from_bytes(start[27:30], "little")
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", start, 26)
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L":
            (bits,) = struct.unpack_from("<I", start, 21)
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return None
