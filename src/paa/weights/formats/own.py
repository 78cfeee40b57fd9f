"""This project's own files: models as safetensors, training checkpoints as a dictionary of plain values.

A model file holds its tensors and, in its metadata under `paa`, as JSON, `version`, `config`, `names`, `provenance`.
A training checkpoint (`last.pt`) has the keys `format` (`FORMAT` below), `config`, `names`, `model` (tensors), and
`training`, from which the run is resumed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from paa.config import ModelConfig, model_config, to_dict
from paa.errors import CheckpointError, ConfigError
from paa.runtime.files import whole_file
from paa.weights.state import Checkpoint, Weights

FORMAT = "paa-1"
_KEY = "paa"
_VERSION = 1

_RENAMED = {
    "test_short": "min_size",
    "test_longest": "max_size",
    "pictures": "augment",
    "short_sides": "min_sizes",
    "longest": "max_size",
    "rate": "lr",
    "bias_rate_factor": "bias_lr_factor",
    "backbone_rate_factor": "backbone_lr_factor",
    "pictures of the data set": "images of the data set",
    "told": "run_config",
}
"""Names in files of early versions, and their names today."""


def current_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a file's settings, nested or not, under today's names."""
    return {
        _RENAMED.get(name, name): current_names(value) if isinstance(value, Mapping) else value
        for name, value in settings.items()
    }


def recognises(file: Checkpoint) -> bool:
    """Return whether a file is a model or a training checkpoint of this project."""
    return _KEY in file.metadata or file.values.get("format") == FORMAT


def read(file: Checkpoint) -> Weights:
    """Return the model in a model file or a training checkpoint; ConfigError if the file contradicts itself."""
    values = file.values
    if _KEY in file.metadata:
        return _read_model(values, file.metadata[_KEY])
    names = _class_names(values["names"])
    if not isinstance(values["model"], Mapping):
        raise ConfigError("its model is not a dictionary of tensors")
    provenance = {"format": "paa checkpoint", **_rule(values.get("training"))}
    return Weights(model_config(current_names(values["config"])), names, len(names), values["model"], provenance)


def write(
    config: ModelConfig, names: tuple[str, ...], tensors: Mapping[str, Any], training: Any = None
) -> dict[str, Any]:
    """Return the values of a training checkpoint, as `read` expects them; ConfigError for invalid names."""
    check_names(names)
    content = {"format": FORMAT, "config": to_dict(config), "names": list(names), "model": dict(tensors)}
    return content if training is None else {**content, "training": training}


def write_model(
    path: Path,
    config: ModelConfig,
    names: tuple[str, ...],
    tensors: Mapping[str, Tensor],
    provenance: Mapping[str, str],
) -> None:
    """Write a model file, whole or not at all.

    CheckpointError unless it is named `*.safetensors` in a folder that exists, ConfigError for invalid names.
    """
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path}: a model is saved as safetensors: name it {path.stem or 'model'}.safetensors")
    check_names(names)
    if not path.parent.is_dir():
        raise CheckpointError(f"{path}: there is no folder {path.parent}")
    about = {"version": _VERSION, "config": to_dict(config), "names": list(names), "provenance": dict(provenance)}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with whole_file(path) as temporary:
        # one key only: safetensors writes several in varying order, so that equal models would give different files
        save_file(plain, temporary, {_KEY: json.dumps(about, ensure_ascii=False)})


def _read_model(tensors: Mapping[str, Tensor], described: str) -> Weights:
    try:
        about = json.loads(described)
        version, config, provenance = about["version"], about["config"], about["provenance"]
        names = _class_names(about["names"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(f"its metadata is damaged ({type(error).__name__}: {error})") from error
    if version != _VERSION:
        raise ConfigError(
            f"is of version {version!r}, this program reads version {_VERSION}: a newer program is needed"
        )
    if not isinstance(config, dict) or not isinstance(provenance, dict):
        raise ConfigError("its metadata is damaged: config and provenance are not dictionaries")
    history = {str(name): str(value) for name, value in provenance.items()}
    return Weights(model_config(current_names(config)), names, len(names), tensors, history)


def _rule(training: Any) -> dict[str, str]:
    """Return the assignment rule that a run was trained by, where it is not the paper's."""
    settings = training.get("run_config") if isinstance(training, Mapping) else None
    rule = settings.get("assigner") if isinstance(settings, Mapping) else None
    return {"assigner": rule} if isinstance(rule, str) and rule != "paa" else {}


def check_names(names: Sequence[str]) -> None:
    """Raise ConfigError unless these names can be a model's classes: at least one, none empty, no two equal."""
    if not names or not all(name.strip() for name in names):
        raise ConfigError("a model without class names, or with an empty one, cannot be saved or read")
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ConfigError(f"two classes have the same name, {twice!r}")


def _class_names(names: Any) -> tuple[str, ...]:
    if not names or not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError("its class names are not a list of strings")
    check_names(names)
    return tuple(names)
