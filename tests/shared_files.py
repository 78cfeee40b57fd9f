"""Files that take long to make, made once for all processes of the tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder of this name; the first process that wants it makes its files, and the others wait for them."""
    here = factory.getbasetemp()
    root = here.parent if here.name.startswith("popen-") else here
    folder = root / name
    with FileLock(root / f"{name}.lock"):
        if not folder.exists():
            made = factory.mktemp(name)
            make(made)
            made.rename(folder)
    return folder
