"""The packages that serving needs, which are not installed with this project."""

from __future__ import annotations

import importlib.util

from paa.errors import ConfigError
from paa.runtime.extras import not_installed


def check_packages() -> None:
    """Raise ConfigError unless the packages of the extra `serve` are installed."""
    for module in ("gradio", "fastapi", "uvicorn", "python_multipart", "prometheus_client"):
        if importlib.util.find_spec(module) is None:
            raise ConfigError(f"paa serve: {not_installed(module, 'serve')}")
