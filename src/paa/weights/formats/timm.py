"""timm's pre-trained weights, by name (`timm/convnext_tiny`) or from a file, for the timm model that the user names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from paa.errors import CheckpointError, one_line
from paa.model.timm_backbone import create_model
from paa.weights.state import BackboneWeights, Checkpoint


def recognises(file: Checkpoint) -> bool:
    """Return whether the user asked for a timm model: nothing in the file shows which model its tensors belong to."""
    return bool(file.timm_name)


def read(file: Checkpoint) -> BackboneWeights:
    """Return the timm model that the user asked for, with the tensors of a file as timm distributes it."""
    if not file.state:  # timm would fetch its own weights instead
        raise CheckpointError(f"{file.source}: holds no tensors")
    return load_into(file.timm_name, file.state, file.source)


def load_into(name: str, state: Mapping[str, Tensor], source: str) -> BackboneWeights:
    """Return timm's model `name` with the tensors of a state dict; CheckpointError if they do not fit."""
    return _load(name, {"pretrained_cfg_overlay": {"state_dict": dict(state)}}, source)


def fetch(name: str) -> BackboneWeights:
    """Return timm's weights of a model, fetched once; a tag chooses one of several: convnext_tiny.in12k_ft_in1k."""
    return _load(name, {}, f"timm/{name}")


def _load(name: str, options: dict[str, Any], source: str) -> BackboneWeights:
    """Have timm load the weights into the whole model: it checks them, and renames the tensors of older files.

    CheckpointError if the weights cannot be fetched, or do not fit that model.
    """
    try:
        model = create_model(name, pretrained=True, **options)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise CheckpointError(f"{source}: no weights of timm/{name}: {one_line(error)}") from error
    kept = create_model(name, features_only=True, feature_cls="getter").state_dict()
    tensors = {f"model.{n}": tensor for n, tensor in model.state_dict().items()}
    settings = model.pretrained_cfg
    fields = {
        "backbone": f"timm/{name}",
        "stride_in_1x1": False,
        "mean": tuple(round(255 * v, 4) for v in settings["mean"]),
        "std": tuple(round(255 * v, 4) for v in settings["std"]),
        "bgr": False,
    }
    dropped = tuple(n.removeprefix("model.") for n in tensors if n not in kept)
    return BackboneWeights(fields, {f"body.{n}": tensors[n] for n in kept}, dropped, source)
