"""The Hugging Face hub's part of a model, or what stands in its place where huggingface_hub is not installed."""

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
        """Raise ImportError, which names the extra: nothing can be fetched."""
        raise ImportError(_MISSING)

    class PyTorchModelHubMixin:  # type: ignore[no-redef]
        """A mixin that takes the options of the hub's, and whose methods name the extra in a ConfigError."""

        def __init_subclass__(cls, **options: Any) -> None:
            super().__init_subclass__()

        def save_pretrained(self, *arguments: Any, **options: Any) -> Any:
            """Raise ConfigError; `save` writes the model to a file without the hub."""
            raise ConfigError(f"save_pretrained: {_MISSING}")

        def push_to_hub(self, *arguments: Any, **options: Any) -> Any:
            """Raise ConfigError."""
            raise ConfigError(f"push_to_hub: {_MISSING}")
