"""Reading the JSON files of a study's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from paa.errors import RunError, one_line

Content = TypeVar("Content")


def read_json(path: Path, content: type[Content]) -> Content | None:
    """Return what a file holds; None where there is none. RunError for one that is not what a study wrote."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=content)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, RecursionError) as error:
        raise RunError(f"{path}: not what a study wrote: {one_line(error)}; remove it to have it made again") from error
