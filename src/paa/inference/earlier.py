"""What an earlier prediction left in its folder: its drawings are no images to detect in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from paa.data.video.write import comment_of

RECORDS = "detections.json"
"""What every prediction writes."""
COMMENT = "detections drawn by paa"
"""In every drawing and every drawn video."""
_HEAD = re.compile(rb'\[\s*(\]|\{\s*"file": )')


def is_drawing(path: Path) -> bool:
    """Return whether a file is a drawing that a prediction wrote, which the comment in it tells."""
    if path.suffix == ".mp4":
        return comment_of(path) == COMMENT
    try:
        with Image.open(path) as image:
            return bool(image.info.get("comment") == COMMENT.encode())
    except (OSError, ValueError, Image.DecompressionBombError):
        return False


def drawn_in(folder: Path | None) -> Callable[[Path], bool]:
    """Return what tells whether a file is a drawing of an earlier prediction into a folder; None: no file is.

    By what detections.json names, and by the comments of files in the folder itself.
    """
    if folder is None:
        return lambda path: False
    named, own = named_drawings(folder), folder.resolve()

    def is_drawn(path: Path) -> bool:
        whole = path.resolve()
        return whole in named or (whole.parent == own and whole.suffix in (".jpg", ".mp4") and is_drawing(whole))

    return is_drawn


def named_drawings(folder: Path) -> set[Path]:
    """Return the drawings that the detections.json of a folder names; none if there is no such file."""
    try:
        records = json.loads((folder / RECORDS).read_text(encoding="utf-8"))
        return {(folder / name).resolve() for name in {record["drawn"] for record in records} - {None}}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return set()


def has_records(folder: Path) -> bool:
    """Return whether the detections.json of a folder is that of an earlier prediction; False if there is none."""
    return begins(folder / RECORDS, _HEAD)


def begins(path: Path, head: re.Pattern[bytes]) -> bool:
    """Return whether a file is there and begins so."""
    try:
        with path.open("rb") as file:
            return head.match(file.read(200)) is not None
    except OSError:
        return False
