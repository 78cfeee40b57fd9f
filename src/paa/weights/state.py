"""What a file says of a model, whatever wrote it, and how its tensors get into one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from paa.config import ModelConfig
from paa.errors import CheckpointError
from paa.weights.formats.coco_names import COCO_NAMES

COUNTER = ".num_batches_tracked"
"""Batch norm's counter, which trained norm has, frozen norm has not, and nothing needs."""


class Weights(NamedTuple):
    """A detector's configuration, class names (None where the file has none), number of classes, tensors under this
    project's names, where they come from (`format` and `file`, and what else a converted file remembers), and the file
    that was read."""

    config: ModelConfig
    names: tuple[str, ...] | None
    num_classes: int
    tensors: Mapping[str, Tensor]
    provenance: Mapping[str, str]
    source: str = ""

    def class_names(self) -> tuple[str, ...] | None:
        """Return the file's names, or COCO's for 80 classes without any; None if there is no telling."""
        if self.names is None and self.num_classes == len(COCO_NAMES):
            return COCO_NAMES
        return self.names


class BackboneWeights(NamedTuple):
    """A pre-trained backbone: the fields of `ModelConfig` that it decides (its name, its input, ...), tensors under the
    names of `model/`'s backbones, those of the file that no detector has (the classifier), and a word on the file."""

    fields: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    dropped: tuple[str, ...]
    source: str


def check_fit(own: Mapping[str, Tensor], tensors: Mapping[str, Any], source: str, fresh: Collection[str] = ()) -> None:
    """Compare names and shapes; CheckpointError lists what is missing, left over or misshapen.

    own: a module's state, of which the names in `fresh` may be missing.
    """
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise CheckpointError(f"{source}: {name} is no tensor")
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
    """Copy every tensor into the model; CheckpointError as in `check_fit`, and for one that is not finite."""
    own = model.state_dict()
    check_fit(own, tensors, source, fresh)
    taken = [name for name in own if name in tensors]
    for name in taken:
        if not bool(tensors[name].isfinite().all()):
            raise CheckpointError(f"{source}: {name} is not finite: the run that wrote it had diverged")
    with torch.no_grad():
        for name in taken:
            own[name].copy_(tensors[name])
