"""Small disks for tests: a command runs where a folder is a file system of a few megabytes of its own."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest


@cache
def _unshare() -> tuple[str, ...] | None:
    """Return the command that makes a mount namespace here, as root or as a user; None where nobody may."""
    for options in (("-m",), ("-Urm",)):
        command = ("unshare", *options)
        try:
            done = subprocess.run([*command, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False)
        except OSError:
            return None
        if done.returncode == 0:
            return command
    return None


def run_with_small_disk(
    folder: Path, size: str, command: Sequence[str], timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a command that finds an empty file system of this size at `folder`; skips where none can be mounted."""
    unshare = _unshare()
    if unshare is None:
        pytest.skip("no mount namespace can be made here (unshare -m)")
    script = f"mount -t tmpfs -o size={size} tmpfs {shlex.quote(str(folder))} && exec {shlex.join(command)}"
    return subprocess.run(
        [*unshare, "sh", "-c", script], capture_output=True, text=True, timeout=timeout, check=False
    )  # fmt: skip
