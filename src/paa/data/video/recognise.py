"""What is a video: a file by its suffix or its content, a camera by its name."""

from __future__ import annotations

import re
from pathlib import Path

from paa.data.images.non_images import is_image_brand

SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts", ".wmv", ".flv", ".ogv"}
)
"""Suffixes by which a video is recognised in a folder; `.ts` is not among them, as it is TypeScript's too."""

_STARTS = (b"\x1aE\xdf\xa3", b"\0\0\1\xba", b"\0\0\1\xb3", b"FLV\1", b"0&\xb2u\x8ef\xcf\x11", b"OggS")
_TRANSPORT_PACKET = 188  # bytes of a packet of an MPEG transport stream, which begins with 0x47


def is_video(path: Path) -> bool:
    """Return whether a file is a video: by its suffix, or by its content, if it can be read."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            start = file.read(2 * _TRANSPORT_PACKET + 1)
    except OSError:
        return False
    if start[4:8] == b"ftyp":
        return not is_image_brand(start[8:12])
    if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
        return True
    return start.startswith(_STARTS) or start[::_TRANSPORT_PACKET] == b"GGG"


def camera_number(name: str) -> int | None:
    """Return the number of the camera that `camera:N` or `/dev/videoN` names; None for another name."""
    found = re.fullmatch(r"camera:(\d{1,3})|/dev/video(\d{1,3})", name)
    return int(found[1] or found[2]) if found else None
