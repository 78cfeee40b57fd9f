"""This project's training checkpoints: a plain dictionary that `torch.load(weights_only=True)` reads.

Keys: `format` (the word below), `config`, `names`, `model` (tensors), and, for going on with a run, `training`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paa.config import ModelConfig, model_config, to_dict
from paa.errors import CheckpointError, ConfigError
from paa.weights.state import Weights

FORMAT = "paa-1"


def recognises(content: Mapping[str, Any]) -> bool:
    """Say whether the file is one of this project's."""
    return content.get("format") == FORMAT


def read(content: Mapping[str, Any]) -> Weights:
    """Return what the checkpoint says of its model."""
    names = tuple(content["names"])
    if not names or not isinstance(content["names"], list) or not all(isinstance(name, str) for name in names):
        raise ConfigError("its class names are not a list of strings")
    if not isinstance(content["model"], Mapping):
        raise ConfigError("its model is not a dictionary of tensors")
    return Weights(model_config(content["config"]), names, len(names), content["model"], "paa")


def write(
    config: ModelConfig, names: tuple[str, ...], tensors: Mapping[str, Any], training: Any = None
) -> dict[str, Any]:
    """Return the dictionary that `read` reads."""
    if not names:
        raise CheckpointError("a model without class names cannot be saved")
    content = {"format": FORMAT, "config": to_dict(config), "names": list(names), "model": dict(tensors)}
    return content if training is None else {**content, "training": training}
