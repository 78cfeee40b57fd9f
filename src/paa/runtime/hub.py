"""The Hugging Face hub's model mixin and download, or stand-ins where huggingface_hub is not installed."""

from __future__ import annotations

from typing import Any

from paa.errors import ConfigError
from paa.runtime.extras import not_installed

__all__ = ["PyTorchModelHubMixin", "hf_hub_download"]

try:
    from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
except ImportError:
    _MISSING = not_installed("huggingface_hub", "hub")

    def hf_hub_download(*arguments: Any, **options: Any) -> str:  # type: ignore[no-redef]
        """Raise ImportError, which names the extra to install."""
        raise ImportError(_MISSING)

    class PyTorchModelHubMixin:  # type: ignore[no-redef]
        """A stand-in that takes the options of the hub's mixin, and whose methods name the extra in a ConfigError."""

        def __init_subclass__(cls, **options: Any) -> None:
            super().__init_subclass__()

        def save_pretrained(self, *arguments: Any, **options: Any) -> Any:
            """Raise ConfigError; `save` writes the model to a file without the hub."""
            raise ConfigError(f"save_pretrained: {_MISSING}")

        def push_to_hub(self, *arguments: Any, **options: Any) -> Any:
            """Raise ConfigError."""
            raise ConfigError(f"push_to_hub: {_MISSING}")
