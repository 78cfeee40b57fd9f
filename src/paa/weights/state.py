"""A file of weights before and after a format has read it, and how its tensors get into a model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from paa.config import ModelConfig
from paa.errors import CheckpointError
from paa.weights.formats.coco_names import COCO_NAMES

COUNTER = ".num_batches_tracked"
"""Batch norm's counter of batches: trained norm has one, frozen norm has none, and nothing needs it."""

_STATES = ("model", "state_dict", "model_state_dict")
"""The keys under which training programs keep the state dict."""


@dataclass(frozen=True)
class Checkpoint:
    """A file of weights before a format has read it.

    source: its path, for messages. values: all that it holds. metadata: that of a safetensors file. timm_name: the timm
    model that the user asked for, "" if another model.
    """

    source: str
    values: Mapping[str, Any]
    metadata: Mapping[str, str] = field(default_factory=dict)
    timm_name: str = ""

    @cached_property
    def state(self) -> Mapping[str, Any]:
        """The state dict among the values, under one of several keys or none, without DDP's prefix `module.`."""
        state = next((self.values[key] for key in _STATES if isinstance(self.values.get(key), Mapping)), self.values)
        if all(str(name).startswith("module.") for name in state):
            return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}
        return state


class Weights(NamedTuple):
    """A detector that a format has read.

    names: the classes, None where the file has none. tensors: under this project's names. provenance: the origin of the
    weights: `format` and `file`, `assigner` where the rule of training was not the paper's, and what else a converted
    file remembers. source: the path of the file.
    """

    config: ModelConfig
    names: tuple[str, ...] | None
    num_classes: int
    tensors: Mapping[str, Tensor]
    provenance: Mapping[str, str]
    source: str = ""

    def class_names(self) -> tuple[str, ...] | None:
        """Return the file's names, or COCO's for 80 classes without names; None if they are unknown."""
        if self.names is None and self.num_classes == len(COCO_NAMES):
            return COCO_NAMES
        return self.names


class BackboneWeights(NamedTuple):
    """A pre-trained backbone that a format has read.

    fields: those of `ModelConfig` that the backbone decides (its name, its input, ...). tensors: under the names of
    `model/`'s backbones. dropped: the names of tensors that no detector has (the classifier's). source: the file, or
    the library and the model's name.
    """

    fields: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    dropped: tuple[str, ...]
    source: str


def check_fit(own: Mapping[str, Tensor], tensors: Mapping[str, Any], source: str, fresh: Collection[str] = ()) -> None:
    """Compare names and shapes; CheckpointError lists the tensors that are missing, left over or misshapen.

    own: a module's state, of which the names in `fresh` may be missing.
    """
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise CheckpointError(f"{source}: {name} is not a tensor")
    missing = sorted(n for n in set(own) - set(tensors) - set(fresh) if not n.endswith(COUNTER))
    left_over = sorted(n for n in set(tensors) - set(own) if not n.endswith(COUNTER))
    misshapen = sorted(n for n in set(own) & set(tensors) if own[n].shape != tensors[n].shape)
    if missing or left_over or misshapen:
        parts = [
            f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
            for what, names in (("missing", missing), ("left over", left_over), ("misshapen", misshapen))
            if names
        ]
        raise CheckpointError(f"{source}: tensors do not fit the model: {'; '.join(parts)}")


def load_tensors(model: nn.Module, tensors: Mapping[str, Any], source: str, fresh: Collection[str] = ()) -> None:
    """Copy every tensor into the model; CheckpointError as in `check_fit`, and for a tensor that is not finite."""
    own = model.state_dict()
    check_fit(own, tensors, source, fresh)
    taken = [name for name in own if name in tensors]
    for name in taken:
        if not bool(tensors[name].isfinite().all()):
            raise CheckpointError(f"{source}: {name} is not finite: the run that wrote it had diverged")
    with torch.no_grad():
        for name in taken:
            own[name].copy_(tensors[name])
