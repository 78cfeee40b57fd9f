"""timm's pre-trained weights, by name (`timm/convnext_tiny`) or from a file of the architecture the model names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paa.errors import CheckpointError, one_line
from paa.model.timm_backbone import create_model
from paa.weights.state import BackboneWeights


def fetch(name: str) -> BackboneWeights:
    """Return timm's weights of a model, fetched once; a tag chooses among several: convnext_tiny.in12k_ft_in1k."""
    return _load(name, {}, f"timm/{name}")


def read(content: Mapping[str, Any], name: str, source: str) -> BackboneWeights:
    """Return a file's tensors as those of timm's model `name`, with its classifier, as timm distributes them."""
    if not content:  # of which timm would fetch its own weights instead
        raise CheckpointError(f"{source}: holds no tensors")
    return _load(name, {"pretrained_cfg_overlay": {"state_dict": dict(content)}}, source)


def _load(name: str, options: dict[str, Any], source: str) -> BackboneWeights:
    """Have timm fill the whole model, which it does strictly and with its own renaming of older files.

    CheckpointError if the weights cannot be fetched, or are not that model's.
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
