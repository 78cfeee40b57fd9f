"""Addresses on the web, given where a file is wanted."""

from __future__ import annotations

import re
from pathlib import Path

_URL = re.compile(r"(https?|ftp|s3|gs|hdfs|file):/+(.+)", re.IGNORECASE | re.DOTALL)


def url_of(given: str | Path) -> str | None:
    """Return the URL that was given for a path, None if it is none; `Path` makes one slash of its two."""
    found = _URL.match(str(given))
    return f"{found[1]}://{found[2]}" if found else None


def nothing_at(path: Path, expected: str) -> str:
    """Return the message for a path at which nothing is: no such `expected`, or that a URL was given for it."""
    url = url_of(path)
    return f"{path}: no such {expected}" if url is None else f"{url}: a URL, not a path: download it first"
