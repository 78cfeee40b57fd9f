"""Packages that `pip install paa` leaves out, because prediction and training work without them."""

from __future__ import annotations


def not_installed(package: str, extra: str) -> str:
    """Return one line for a message: which package is missing, and the command that installs it."""
    return f"{package} is not installed: pip install 'paa[{extra}]'"
