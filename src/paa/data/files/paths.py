"""Paths as people and other systems write them."""

from __future__ import annotations

import os
import re
from fnmatch import fnmatchcase
from pathlib import Path


def path_parts(path: str) -> list[str]:
    """Return the folders and the name of a path with slashes or backslashes."""
    return [part for part in re.split(r"[\\/]+", path.strip()) if part not in ("", ".")]


def path_exists(path: Path) -> bool:
    """Return whether a file or folder exists; False for a name that no file can have, such as a long text."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def relative_name(file: Path, root: Path) -> str:
    """Return a file's path relative to a folder, with slashes; its absolute path if it lies outside the folder."""
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file.absolute())


def matches(name: str, pattern: str) -> bool:
    """Return whether a name is the one that a person wrote, brackets and all, or matches it as a shell's pattern."""
    return name == pattern or fnmatchcase(name, pattern)


def with_name(folder: Path) -> Path:
    """Return a path to the same folder that ends in the folder's name, as "." and ".." do not."""
    return folder if folder.name not in ("", "..") else Path(os.path.normpath(folder.absolute()))
