"""What a checkpoint says, whatever wrote it, and the model that is built from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from paa.config import ModelConfig
from paa.errors import CheckpointError


class Weights(NamedTuple):
    """A model's configuration, its class names (None where the file has none), number of classes, tensors under this
    project's names, and a word on where it came from."""

    config: ModelConfig
    names: tuple[str, ...] | None
    num_classes: int
    tensors: Mapping[str, Tensor]
    source: str


def load_tensors(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy every tensor into the model; CheckpointError lists what is missing, left over or misshapen."""
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise CheckpointError(f"{source}: {name} is no tensor")
    own = model.state_dict()
    missing = sorted(set(own) - set(tensors))
    left_over = sorted(set(tensors) - set(own))
    misshapen = sorted(n for n in set(own) & set(tensors) if own[n].shape != tensors[n].shape)
    if missing or left_over or misshapen:
        parts = [
            f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
            for what, names in (("missing", missing), ("left over", left_over), ("misshapen", misshapen))
            if names
        ]
        raise CheckpointError(f"{source}: tensors do not fit the model: {'; '.join(parts)}")
    with torch.no_grad():
        for name, tensor in own.items():
            if not bool(tensors[name].isfinite().all()):
                raise CheckpointError(f"{source}: {name} is not finite: the run that wrote it had diverged")
            tensor.copy_(tensors[name])
