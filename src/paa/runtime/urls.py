"""URLs that were given in place of a local path, so that the message can say so."""

from __future__ import annotations

import re
from pathlib import Path

_URL = re.compile(r"([a-z][a-z0-9+.-]+):/+(.+)", re.IGNORECASE | re.DOTALL)  # one letter is a disk, as in C:/images


def url_of(given: str | Path) -> str | None:
    """Return the URL that was given in place of a path, None for a path; `Path` turns the two slashes into one."""
    found = _URL.match(str(given))
    if not found:
        return None
    return f"{found[1]}://{'/' if found[1].lower() == 'file' else ''}{found[2]}"


def nothing_at(path: Path, expected: str) -> str:
    """Return the error message for a path that does not exist: no such `expected`, or a URL instead of a path."""
    url = url_of(path)
    if url is not None and url.lower().startswith("file://"):
        return f"{url}: a URL, not a path: name the file without file://"
    return f"{path}: no such {expected}" if url is None else f"{url}: a URL, not a path: download it first"
