"""The packages that exported models need, which `pip install paa` leaves out."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

from paa.errors import ConfigError
from paa.runtime.extras import not_installed


def check_packages(path: Path, *packages: str) -> None:
    """Raise ConfigError, about this file, if one of the packages is not installed.

    ONNX Runtime's builds send events to their maker unless this variable is set when they are first imported.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    for package in packages:
        try:
            import_module(package)
        except ImportError as error:
            raise ConfigError(f"{path}: {not_installed(package, 'onnx')}") from error
